"""Cutting a stream of rows into windows, at the rate that the detector was fitted at; nothing is ever filled in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import WindowSpec
from edge_ad.errors import DataError
from edge_ad.runtime.series.columns import Chunk, Values

GAP_PERIODS = 1.5  # rows further apart than this many periods have a gap between them
KEPT_GAPS = 1000
RATE_TOLERANCE = 0.1
RATE_ROWS = 32  # intervals whose median is the measured rate
MISSING, NOT_A_NUMBER = "missing rows", "not a number"

_ROOM_ROWS = 4096  # in the buffer beside a window: how often its rows have to be moved


@dataclass(frozen=True)
class Window:
    """values: (length, C). stamp: time of the newest row, seconds since 1970, or None. row: number of the newest row in
    the stream, from 0. gap: this is the first one after a gap."""

    values: Values
    stamp: float | None
    row: int
    gap: bool = False


@dataclass(frozen=True)
class Gap:
    """Rows that no window can span. reason: `missing rows`, `not a number` or what `Windower.interrupt` was told. row:
    the first row after missing ones, or the first that is no number; rows: how many of those; seconds: how long rows
    were missing, as far as their time stamps tell."""

    reason: str
    row: int
    rows: int
    seconds: float


class Windower:
    """Rows in, windows of the last `length` rows out, one every `hop` rows.

    After a gap (rows missing by their time stamps, a row with a value that is not a number, or an `interrupt`) a window
    needs `length` new rows in a row. gaps: the newest of them; n_gaps: how many there were. The windows do not depend
    on how the rows are cut into chunks.
    """

    def __init__(self, window: WindowSpec, *, where: str = "the stream"):
        """where: name of the stream, for errors."""
        self.gaps: deque[Gap] = deque(maxlen=KEPT_GAPS)
        self.n_gaps = 0
        self._window = window
        self._where = where
        # The rows in a row end at `_end` of the buffer; when that is full, those still needed move to its front.
        self._buffer: Values = np.empty(
            (window.length + max(window.length, _ROOM_ROWS), len(window.channels)), np.float32
        )
        self._end = 0
        self._rows = 0
        self._since = 0  # rows since the last window
        self._last: float | None = None
        self._intervals: list[float] = []
        self._in_gap = False
        self._after_gap = False  # since the last window
        self._interruption: str | None = None

    def interrupt(self, reason: str = MISSING) -> None:
        """Somebody knows that rows are missing before the next one: no window spans that place."""
        self._interruption = reason

    def push(self, chunk: Chunk) -> Iterator[Window]:
        """The windows that these rows complete.

        Raises DataError, naming the line, for another number of channels, a clock that stands still or goes backwards,
        and a sampling rate that is not the declared one.
        """
        if chunk.values.ndim != 2 or chunk.values.shape[1] != len(self._window.channels):
            raise DataError(
                f"line {chunk.line}: rows of {len(self._window.channels)} channels are expected, not "
                f"{chunk.values.shape[-1]}",
                where=self._where,
            )
        n = len(chunk.values)
        if n == 0:
            return
        missing = self._missing_seconds(chunk)
        invalid = _not_finite(chunk.values)
        begin = 0
        for cut in _cuts(missing, invalid, interrupted=self._interruption is not None):
            yield from self._continue(chunk, begin, cut)
            begin = cut
            self._restart()
            seconds = 0.0 if missing is None else float(missing[cut])
            if seconds > 0 or (cut == 0 and self._interruption is not None):
                self._report(Gap(self._interruption or MISSING, self._rows, 0, seconds))
                self._in_gap, self._interruption = False, None
            if invalid is not None and invalid[cut]:
                self._invalid_row()
                begin = cut + 1
        yield from self._continue(chunk, begin, n)

    def _continue(self, chunk: Chunk, begin: int, end: int) -> Iterator[Window]:
        """Take rows begin..end, which follow on those that are kept."""
        length, hop = self._window.length, self._window.hop
        while begin < end:
            self._in_gap = False
            if self._end == len(self._buffer):
                self._end = length - 1
                self._buffer[: self._end] = self._buffer[len(self._buffer) - self._end :]
            before, taken = self._end, min(end - begin, len(self._buffer) - self._end)
            self._buffer[before : before + taken] = chunk.values[begin : begin + taken]
            # A window ends at the k-th of these rows when it has `length` rows in a row and `hop` since the last.
            first = max(length - before, hop - self._since, 1)
            since, rows = self._since, self._rows
            self._end, self._rows, self._since = before + taken, rows + taken, since + taken
            for k in range(first, taken + 1, hop):
                last = before + k
                stamp = None if chunk.stamps is None else float(chunk.stamps[begin + k - 1])
                values = self._buffer[last - length : last].copy()
                gap, self._after_gap = self._after_gap, False
                self._since = taken - k
                yield Window(values, stamp, rows + k - 1, gap)
            begin += taken

    def _restart(self) -> None:
        self._end = 0
        self._since = self._window.hop  # the first whole window after a gap comes at once
        self._after_gap = True

    def _invalid_row(self) -> None:
        if self._in_gap and self.gaps and self.gaps[-1].reason == NOT_A_NUMBER:
            last = self.gaps.pop()
            self.gaps.append(Gap(last.reason, last.row, last.rows + 1, 0.0))
        else:
            self._report(Gap(NOT_A_NUMBER, self._rows, 1, 0.0))
        self._in_gap = True
        self._rows += 1

    def _report(self, gap: Gap) -> None:
        self.gaps.append(gap)
        self.n_gaps += 1

    def _missing_seconds(self, chunk: Chunk) -> npt.NDArray[np.float64] | None:
        """How long rows are missing before each row, 0 where none are; None where none are anywhere. Checks clock and
        rate."""
        stamps = chunk.stamps
        if stamps is None:
            return None
        intervals = np.empty(len(stamps))
        intervals[0] = np.nan if self._last is None else stamps[0] - self._last
        np.subtract(stamps[1:], stamps[:-1], out=intervals[1:])
        judged = intervals if self._last is not None else intervals[1:]
        if not (judged > 0).all():
            row = int(np.flatnonzero(~(judged > 0))[0])
            self._refuse_clock(chunk, row + len(intervals) - len(judged), float(judged[row]))
        self._last = float(stamps[-1])
        if self._window.rate_hz is None:
            return None
        self._check_rate(intervals, chunk.line)
        late = intervals * self._window.rate_hz > GAP_PERIODS
        return np.where(late, intervals, 0.0) if late.any() else None

    def _refuse_clock(self, chunk: Chunk, row: int, interval: float) -> None:
        what = (
            "repeats the time stamp of the row before"
            if interval == 0
            else f"goes back by {-interval:g} s in time"
        )
        raise DataError(
            f"line {chunk.line + row}: {what}",
            where=self._where,
            hint="sort the rows by time and drop doubles",
        )

    def _check_rate(self, intervals: npt.NDArray[np.float64], line: int) -> None:
        rate = self._window.rate_hz
        if rate is None or len(self._intervals) >= RATE_ROWS:
            return
        self._intervals += intervals[np.isfinite(intervals)].tolist()[: RATE_ROWS - len(self._intervals)]
        if len(self._intervals) < RATE_ROWS:
            return
        measured = 1 / float(np.median(self._intervals))
        if abs(measured - rate) > RATE_TOLERANCE * rate:
            raise DataError(
                f"line {line}: has {measured:.4g} rows a second, the detector was fitted at {rate:.4g}",
                where=self._where,
                hint="resample the stream, or fit a detector for this rate",
            )


def _not_finite(values: Values) -> npt.NDArray[np.bool_] | None:
    """(n,) which rows hold a value that is not a number, None where none does."""
    finite = np.isfinite(values)
    return None if finite.all() else np.logical_not(finite.all(axis=1))


def _cuts(
    missing: npt.NDArray[np.float64] | None, invalid: npt.NDArray[np.bool_] | None, *, interrupted: bool
) -> list[int]:
    """The rows that do not follow on the one before them, or are none."""
    if missing is None and invalid is None:
        return [0] if interrupted else []
    cut = np.zeros(len(missing if missing is not None else invalid), np.bool_)  # type: ignore[arg-type]
    if missing is not None:
        cut |= missing > 0
    if invalid is not None:
        cut |= invalid
    cut[0] |= interrupted
    found: list[int] = np.flatnonzero(cut).tolist()
    return found
