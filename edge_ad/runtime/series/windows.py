"""Cutting a stream of rows into windows, at the rate that the detector was fitted at; nothing is ever filled in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import WindowSpec
from edge_ad.errors import DataError
from edge_ad.runtime.series.readers import Chunk, Values

GAP_PERIODS = 1.5  # rows further apart than this many periods have a gap between them
KEPT_GAPS = 1000
RATE_TOLERANCE = 0.1
RATE_ROWS = 32  # intervals whose median is the measured rate


@dataclass(frozen=True)
class Window:
    """values: (length, C). stamp: time of the newest row, seconds since 1970, or None. row: number of the newest row in
    the stream, from 0."""

    values: Values
    stamp: float | None
    row: int


@dataclass(frozen=True)
class Gap:
    """Rows that no window can span. reason: `missing rows` or `not a number`. row: the first row after missing ones,
    or the first that is no number; rows: how many of those; seconds: how long rows were missing."""

    reason: str
    row: int
    rows: int
    seconds: float


class Windower:
    """Rows in, windows of the last `length` rows out, one every `hop` rows.

    After a gap (rows missing by their time stamps, or a row with a value that is not a number) a window needs `length`
    new rows in a row. gaps: the newest of them; n_gaps: how many there were. The windows do not depend on how the rows
    are cut into chunks.
    """

    def __init__(self, window: WindowSpec, *, where: str = "the stream"):
        """where: name of the stream, for errors."""
        self.gaps: deque[Gap] = deque(maxlen=KEPT_GAPS)
        self.n_gaps = 0
        self._window = window
        self._where = where
        self._kept: Values = np.zeros((0, len(window.channels)), np.float32)
        self._stamps: list[float] = []
        self._rows = 0
        self._since = 0  # rows since the last window
        self._last: float | None = None
        self._intervals: list[float] = []
        self._in_gap = False

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
        missing = self._missing_seconds(chunk)
        invalid: npt.NDArray[np.bool_] = np.logical_not(np.isfinite(chunk.values).all(axis=1))
        begin = 0
        for cut in [*np.flatnonzero((missing > 0) | invalid).tolist(), len(chunk.values)]:
            yield from self._continue(chunk, begin, cut)
            begin = cut
            if cut == len(chunk.values):
                return
            self._restart()
            if missing[cut] > 0:
                self._report(Gap("missing rows", self._rows, 0, float(missing[cut])))
                self._in_gap = False
            if invalid[cut]:
                self._invalid_row()
                begin = cut + 1

    def _continue(self, chunk: Chunk, begin: int, end: int) -> Iterator[Window]:
        """Take rows begin..end, which follow on those that are kept."""
        if begin == end:
            return
        self._in_gap = False
        length, hop = self._window.length, self._window.hop
        values = np.concatenate([self._kept, chunk.values[begin:end]])
        before = len(self._kept)
        for i in range(before, len(values)):
            self._since += 1
            if i + 1 >= length and self._since >= hop:
                self._since = 0
                stamp = None if chunk.stamps is None else float(chunk.stamps[begin + i - before])
                yield Window(values[i + 1 - length : i + 1].copy(), stamp, self._rows + i - before)
        self._rows += end - begin
        self._kept = values[max(0, len(values) - length + 1) :].copy()

    def _restart(self) -> None:
        self._kept = self._kept[:0]
        self._since = self._window.hop  # the first whole window after a gap comes at once

    def _invalid_row(self) -> None:
        if self._in_gap and self.gaps and self.gaps[-1].reason == "not a number":
            last = self.gaps.pop()
            self.gaps.append(Gap(last.reason, last.row, last.rows + 1, 0.0))
        else:
            self._report(Gap("not a number", self._rows, 1, 0.0))
        self._in_gap = True
        self._rows += 1

    def _report(self, gap: Gap) -> None:
        self.gaps.append(gap)
        self.n_gaps += 1

    def _missing_seconds(self, chunk: Chunk) -> npt.NDArray[np.float64]:
        """How long rows are missing before each row, 0 where none are. Checks clock and rate."""
        none = np.zeros(len(chunk.values))
        if chunk.stamps is None or len(chunk.stamps) == 0:
            return none
        first = self._last if self._last is not None else chunk.stamps[0] - 1
        intervals = np.diff(chunk.stamps, prepend=first)
        if (wrong := np.flatnonzero(~(intervals > 0))).size:
            self._refuse_clock(chunk, int(wrong[0]), float(intervals[wrong[0]]))
        if self._last is None:
            intervals[0] = np.nan
        self._last = float(chunk.stamps[-1])
        if self._window.rate_hz is None:
            return none
        self._check_rate(intervals, chunk.line)
        intervals = np.nan_to_num(intervals)
        return np.where(intervals * self._window.rate_hz > GAP_PERIODS, intervals, 0.0)

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
