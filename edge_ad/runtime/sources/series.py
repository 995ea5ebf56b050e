"""Series files as a stream of windows: replayed, and gone on with where a replay was cut off."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from edge_ad.bundle.manifest import WindowSpec
from edge_ad.errors import DataError, SourceError
from edge_ad.runtime.images import list_images
from edge_ad.runtime.sample import Position, Sample
from edge_ad.runtime.series import (
    EXTENSIONS,
    Chunk,
    Gap,
    SeriesFile,
    Window,
    Windower,
    list_series,
    open_windowed,
)
from edge_ad.runtime.series.windows import RATE_ROWS
from edge_ad.runtime.sources.replay import BEGIN_ANEW, Pace, Replay, index_of, name_below, require_keys

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cut:
    """A window of a file. gap: rows are missing between the window before and this one."""

    window: Window
    gap: bool


def cut(
    series: SeriesFile, spec: WindowSpec, *, closing: threading.Event, on_gaps: Callable[[int, list[Gap]], None],
    after: int | None = None,
) -> Iterator[Cut]:  # fmt: skip
    """The windows of a file, in order.

    closing: ends it, between two pieces of the file. on_gaps: told how many gaps there were since the last time, and of
    those the newest. after: only the windows behind the one whose newest row that is, just as a run from the first row
    gives them.

    Raises DataError as `SeriesFile.chunks` and `Windower.push` do, SourceError when no window ends at row `after`.
    """
    windower = Windower(spec, where=str(series.path))
    told = passed = 0  # gaps; and of those, the ones before the last window
    found = after is None
    for left_out, chunk in _from_row(series, 0 if after is None else after - spec.length + 1):
        if closing.is_set():
            return
        if chunk is None:
            continue
        for window in windower.push(chunk):
            row = window.row + left_out
            if after is not None and row <= after:
                found = found or row == after
                told = passed = windower.n_gaps
            elif not found:
                raise _another_file(series.path, after)
            else:
                yield Cut(replace(window, row=row), windower.n_gaps > passed)
                passed = windower.n_gaps
        if found and (new := windower.n_gaps - told):
            on_gaps(new, list(windower.gaps)[-new:])
            told = windower.n_gaps
    if not found:
        raise _another_file(series.path, after)


def _from_row(series: SeriesFile, first: int) -> Iterator[tuple[int, Chunk | None]]:
    """The rows from `first` on, behind what a `Windower` needs to be where it was; each piece with the number of rows
    left out so far, None in place of a piece that is left out.

    What it remembers of earlier rows is the rate, measured on the file's first rows: those come, and the row before
    `first`, all blanked, as rows that are no numbers make no window.
    """
    begin = left_out = 0
    for chunk in series.chunks():
        end = begin + len(chunk.values)
        if begin > RATE_ROWS and end < first:
            left_out += len(chunk.values)
            yield left_out, None
        elif begin < first:
            values = chunk.values.copy()
            values[: first - begin] = np.nan
            yield left_out, replace(chunk, values=values)
        else:
            yield left_out, chunk
        begin = end


def _another_file(path: Path, after: int | None) -> SourceError:
    return SourceError(
        f"no window ends at row {after}: it is not the file that was read before", where=path, hint=BEGIN_ANEW
    )


class SeriesReplay(Replay):
    """One series file, or all below a folder one after the other, each a stream of its own, cut into windows.

    `unreadable` counts gaps, each of which is logged: no window spans one. Samples carry the time of their newest row
    where the file has a time column.
    """

    def __init__(self, path: Path, window: WindowSpec, *, pace: Pace = "fast"):
        """pace: `recorded` plays the rows by their time, or at the window's rate where they have none. Raises
        SourceError when there is no series, or no pace to play it at; DataError for one without the window's channels.
        """
        super().__init__(path, pace)
        if not path.exists():
            raise SourceError("there is no such folder or file", where=path)
        self._folder = path if path.is_dir() else path.parent
        self._files = list_series(path) if path.is_dir() else [path]
        if not self._files:
            held = "holds images, no series" if list_images(path) else "there are no series in it"
            raise SourceError(held, where=path, hint=f"known: {', '.join(EXTENSIONS)}")
        self._window = window
        self._opened = [open_windowed(file, window) for file in self._files]
        self._first = 0
        self._after: int | None = None
        if self._pacer is not None and window.rate_hz is None:
            timeless = next((s.path for s in self._opened if not s.has_time), None)
            if timeless is not None:
                raise SourceError(
                    "has no time to be paced by", where=timeless, hint="leave pace=recorded out"
                )

    def resume(self, position: Position) -> None:
        """Go on behind the window that ends at row `row` of the file `file`, a path below the folder.

        Raises SourceError when that is gone; the iteration does, when the file has no such window.
        """
        require_keys(position, {"file": str, "row": int}, self.name)
        self._first = index_of(position, self._folder, self._files)
        self._after = int(position["row"])
        self._resumed = True

    def _read(self) -> Iterator[Sample]:
        after = self._after
        for series in self._opened[self._first :]:
            name = name_below(self._folder, series.path)
            if self._pacer is not None:
                self._pacer.begin()
            given = self.acquired
            for found in self._cut(series, after):
                if self._pacer is not None:
                    self._pacer.hold(self._recorded_s(found.window))
                yield sample_of(found, series.path, {"file": name, "row": found.window.row})
            if given == self.acquired and after is None and not self._closing.is_set():
                log.warning("%s: gives no window of %d rows", series.path, self._window.length)
            after = None
        if self._gave_nothing:
            raise SourceError(
                f"gives no window of {self._window.length} rows without a gap", where=self.name,
                hint="give a longer series, or close its gaps where it is recorded",
            )  # fmt: skip

    def _recorded_s(self, window: Window) -> float:
        if window.stamp is not None:
            return window.stamp
        assert self._window.rate_hz is not None  # checked when it was opened
        return window.row / self._window.rate_hz

    def _cut(self, series: SeriesFile, after: int | None) -> Iterator[Cut]:
        def count(new: int, gaps: list[Gap]) -> None:
            self.unreadable += new
            log_gaps(series.path, gaps)

        return cut(series, self._window, closing=self._closing, on_gaps=count, after=after)


def sample_of(found: Cut, path: Path, position: Position) -> Sample:
    """A window as a sample. Raises DataError for a time that no calendar has."""
    window = found.window
    ts = datetime.now(timezone.utc)
    if window.stamp is not None:
        try:
            ts = datetime.fromtimestamp(window.stamp, timezone.utc)
        except (ValueError, OverflowError, OSError) as error:
            raise DataError(
                f"row {window.row}: {window.stamp:g} s since 1970 is no time", where=path
            ) from error
    return Sample(window.values, f"{path.name}#{window.row}", ts, position, found.gap)


def log_gaps(path: Path, gaps: list[Gap]) -> None:
    """Log gaps, each in a line."""
    for gap in gaps:
        length = f"{gap.seconds:g} s" if gap.seconds else f"{gap.rows} rows"
        log.warning("%s: gap at row %d: %s (%s)", path, gap.row, gap.reason, length)
