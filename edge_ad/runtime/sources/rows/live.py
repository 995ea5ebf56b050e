"""Rows as they come, made into what the network takes: windows, or single rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

import numpy as np

from edge_ad.bundle.manifest import WindowSpec
from edge_ad.errors import DataError, SourceError
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.series import Chunk, Gap, Windower
from edge_ad.runtime.series.windows import MISSING, NOT_A_NUMBER

log = logging.getLogger(__name__)

UNREADABLE = "unreadable"
BURST = 256  # windows that may come at once, of a message with many rows
_TELL_S = 60.0  # gaps are logged at most so often


@dataclass(frozen=True)
class Piece:
    """Rows of a feed that follow each other. arrival: when they came, seconds since 1970. gap: why rows are missing
    before the first of them (`UNREADABLE`, which the feed has counted, or `MISSING`), None where none are."""

    chunk: Chunk
    arrival: float
    gap: str | None = None


class Feed(Protocol):
    """Where rows come from. unreadable: lines, messages that were no rows."""

    unreadable: int

    def __iter__(self) -> Iterator[Piece]:
        """The rows, as soon as they come, until the feed ends or is closed. Raises SourceError where it fails,
        DataError for rows that cannot be right."""
        ...

    def close(self) -> None:
        """Release what it reads from, from any thread: the iteration ends at once."""
        ...


class LiveRows:
    """A source of windows, cut from the rows of a feed, or of the rows themselves.

    Samples are called `row#N` after the newest row, counted from 0, and have its time stamp, or the time when it came.
    `unreadable` counts what the feed could not read and the gaps in what it could; of a live feed no sample is ever
    `dropped` here, where they wait is the reader's choice.
    """

    def __init__(self, name: str, feed: Feed, window: WindowSpec | None, *, live: bool):
        """window: None for rows as samples of shape (n,). live: what is wrong with a row is a SourceError, after which
        the feed may be opened anew."""
        self.name = name
        self.live = live
        self.burst = BURST
        self.acquired = 0
        self.dropped = 0
        self.unreadable = 0
        self._gaps = 0
        self._feed = feed
        self._window = window
        self._closed = False
        self._told_at: float | None = None
        self._untold = 0

    def __iter__(self) -> Iterator[Sample]:
        """The samples. Raises SourceError where the feed fails, and, unless it is live, DataError for rows that cannot
        be right."""
        samples = self._rows() if self._window is None else self._windows(self._window)
        try:
            for sample in samples:
                if self._closed:
                    return
                self.acquired += 1
                yield sample
        except DataError as error:
            if not self.live:
                raise
            raise SourceError(error.what, where=error.where, hint=error.hint) from error
        finally:
            self._count()
            self._feed.close()
        if not self.acquired and not self._closed:
            raise SourceError(
                "ended before it gave a window without a gap" if self._window else "ended without a row",
                where=self.name, hint=None if self._window is None else f"a window takes {self._window.length} rows",
            )  # fmt: skip

    def close(self) -> None:
        """End the iteration, at once, and release what is read from."""
        self._closed = True
        self._feed.close()

    def _windows(self, window: WindowSpec) -> Iterator[Sample]:
        windower, told = Windower(window, where=self.name), 0
        for piece in self._pieces():
            if piece.gap is not None:
                windower.interrupt(piece.gap)
            for cut in windower.push(piece.chunk):
                stamp = piece.arrival if cut.stamp is None else cut.stamp
                yield Sample(cut.values, f"row#{cut.row}", self._utc(stamp), gap=cut.gap)
            if new := min(windower.n_gaps - told, len(windower.gaps)):
                told = windower.n_gaps
                for gap in list(windower.gaps)[-new:]:
                    self._tell(gap)

    def _rows(self) -> Iterator[Sample]:
        row, gap = 0, False
        for piece in self._pieces():
            if piece.gap is not None:
                self._tell(Gap(piece.gap, row, 0, 0.0))
                gap = True
            chunk = piece.chunk
            for i, values in enumerate(chunk.values):
                good = bool(np.isfinite(values).all())
                if good:
                    stamp = piece.arrival if chunk.stamps is None else float(chunk.stamps[i])
                    yield Sample(values.copy(), f"row#{row}", self._utc(stamp), gap=gap)
                else:
                    self._tell(Gap(NOT_A_NUMBER, row, 1, 0.0))
                gap = not good
                row += 1

    def _pieces(self) -> Iterator[Piece]:
        for piece in self._feed:
            self._count()
            yield piece

    def _count(self) -> None:
        self.unreadable = self._feed.unreadable + self._gaps

    def _tell(self, gap: Gap) -> None:
        """Count a gap and log it, at most one a minute."""
        self._gaps += gap.reason != UNREADABLE
        now = time.monotonic()
        if self._told_at is not None and now < self._told_at + _TELL_S:
            self._untold += 1
            return
        length = f" ({gap.seconds:g} s)" if gap.seconds else f" ({gap.rows} rows)" if gap.rows else ""
        more = f"; {self._untold} more since the last" if self._untold else ""
        log.warning("%s: gap at row %d: %s%s%s", self.name, gap.row, gap.reason, length, more)
        self._told_at, self._untold = now, 0

    def _utc(self, stamp: float) -> datetime:
        try:
            return datetime.fromtimestamp(stamp, timezone.utc)
        except (ValueError, OverflowError, OSError) as error:
            raise DataError(f"{stamp:g} seconds since 1970 are no time", where=self.name) from error


__all__ = ["MISSING", "UNREADABLE", "Feed", "LiveRows", "Piece"]
