"""Watched folders: files are taken as they appear, once they are whole."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_ad.bundle.manifest import InputSpec, WindowSpec
from edge_ad.errors import DataError, SourceError
from edge_ad.runtime import images, scans, series
from edge_ad.runtime.engines.base import Tensor
from edge_ad.runtime.sample import Position, Sample
from edge_ad.runtime.series import Gap
from edge_ad.runtime.sources.arrivals import Arrival, Arrivals
from edge_ad.runtime.sources.replay import require_keys
from edge_ad.runtime.sources.series import cut, log_gaps, sample_of

log = logging.getLogger(__name__)

IDLE_SHARE = (
    9  # of the time that looking through the folder takes, so that a large one does not keep a core busy
)
GROWING_FILES = 64  # whose last row is remembered

Begin = Literal["new", "all"]
Options = TypeVar("Options", bound=BaseModel)


class WatchOptions(BaseModel):
    """How a folder is watched.

    poll_s: how often it is looked at. settle_s: a file is whole when it has not changed for so long; 0 where files are
    written elsewhere and renamed into place. begin: with what comes from now on, or with all that is there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    poll_s: Annotated[float, Field(gt=0, le=3600)] = 0.5
    settle_s: Annotated[float, Field(ge=0, le=3600)] = 1.0
    begin: Begin = "new"


def open_watch(
    path: Path, input: InputSpec | None = None, options: WatchOptions | None = None
) -> WatchFolder | WatchSeries:
    """Watch a folder for what a network takes: images (also for None), scans or series.

    options: by default those that follow the path behind a `?` (`/mnt/parts?begin=all&settle_s=0`). Raises SourceError
    when there is no such folder, or for an option that is none.
    """
    if options is None:
        path, options = split_options(path, WatchOptions)
    how = options.model_dump()
    if input is not None and input.modality == "series" and input.window is not None:
        return WatchSeries(path, input.window, **how)
    if input is not None and input.modality == "scan":
        return WatchFolder(path, scans.read_scan, "scan", scans.EXTENSIONS, **how)
    return WatchFolder(path, images.read_image, "image", images.EXTENSIONS, **how)


def split_options(path: Path, model: type[Options]) -> tuple[Path, Options]:
    """A path and the options behind its last `?`. Raises SourceError that names an option that is none, or wrong."""
    text, mark, query = str(path).rpartition("?")
    if not mark or path.exists():
        text, query = str(path), ""
    try:
        given = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
        return Path(text), model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise SourceError(
            f"option '{key}': {first['msg']}", where=text, hint=f"known: {', '.join(model.model_fields)}"
        ) from error
    except ValueError as error:
        raise SourceError(
            f"'{query}' are no options", where=text, hint="write them as key=value&key=value"
        ) from error


class _Watch(ABC):
    """The loop, counters and closing of a watched folder; `_samples` gives those of one file."""

    live = False

    def __init__(
        self, path: Path, extensions: Sequence[str], poll_s: float, settle_s: float, begin: Begin,
        clock: Callable[[], float],
    ):  # fmt: skip
        self.name = str(path)
        self.acquired = 0
        self.dropped = 0
        self.unreadable = 0
        self._poll_s = poll_s
        self._closing = threading.Event()
        self._new_arrivals = partial(Arrivals, path, tuple(extensions), settle_s=settle_s, clock=clock)
        self._arrivals = self._new_arrivals()
        if begin == "new":
            self._arrivals.take_present()

    def __iter__(self) -> Iterator[Sample]:
        """The samples of new files, in the order of their time and name. Ends only when closed.

        Raises SourceError when the folder is gone, MissingDependencyError without what reading takes.
        """
        while not self._closing.is_set():
            begun = time.monotonic()
            files = self._arrivals.whole()
            took_s = time.monotonic() - begun
            for file in files:
                for sample in self._samples(file):
                    if self._closing.is_set():
                        return
                    self.acquired += 1
                    yield sample
                if self._closing.is_set():
                    return
            self._closing.wait(max(self._poll_s, IDLE_SHARE * took_s))

    def close(self) -> None:
        """End the iteration, also one that waits; from any thread."""
        self._closing.set()

    @property
    def position(self) -> Position:
        """Where another watch of the folder goes on, also before the first sample."""
        instant_ns, name = self._arrivals.newest
        return {"mtime_ns": instant_ns, "newest": name}

    @abstractmethod
    def _samples(self, file: Arrival) -> Iterator[Sample]:
        """What a file gives that has arrived."""

    def _skip(self, file: Arrival, error: DataError) -> None:
        """Count a file that cannot be read, for good unless it changes or is being written still."""
        unchanged = self._arrivals.is_unchanged(file)
        if unchanged is None:
            log.warning("%s: gone before it could be read", file.path)
            self.unreadable += 1
        elif unchanged:
            log.warning("skipped: %s", error)
            self.unreadable += 1
            self._arrivals.take(file)


class WatchFolder(_Watch):
    """Images or scans that appear in a folder or below it. Nothing is dropped, and it never ends by itself.

    A file that cannot be read is logged, counted, and not tried again unless it changes; one that was read and is
    written anew is a new one; one that was renamed is not. Files brought in with an older time than others that are
    handled are still seen, but not those that come while nobody watches.
    """

    def __init__(
        self, path: Path, read: Callable[[Path], Tensor], what: str, extensions: Sequence[str], *, poll_s: float = 0.5,
        settle_s: float = 1.0, begin: Begin = "new", clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        """read: one file; raises DataError. what: one of them, for people. extensions: theirs, in lower case. For the
        others see `WatchOptions`. Raises SourceError when there is no such folder."""
        super().__init__(path, extensions, poll_s, settle_s, begin, clock)
        self._load = read
        log.info("%s: watched for %ss", path, what)

    def resume(self, position: Position) -> None:
        """Go on behind the file that had this position; it may be gone. Raises SourceError for another source's."""
        require_keys(position, {"mtime_ns": int, "newest": str}, self.name)
        self._arrivals = self._new_arrivals()
        self._arrivals.take_present(up_to=(int(position["mtime_ns"]), str(position["newest"])))

    def _samples(self, file: Arrival) -> Iterator[Sample]:
        try:
            data = self._load(Path(file.path))
        except DataError as error:
            self._skip(file, error)
            return
        if self._arrivals.is_unchanged(file) is False:
            return  # what was read may be part old, part new: it is looked at again
        self._arrivals.take(file)
        yield Sample(data, file.name, _time(file), self.position)


class _Done(NamedTuple):
    """How far a file was cut. row: the newest of its last window."""

    inode: int
    size: int
    row: int


class WatchSeries(_Watch):
    """Series files that appear in a folder or below it, each a stream of its own, cut into windows.

    One that cannot be read is logged and counted, from the line on that is wrong. A file that has grown goes on behind
    its last window, after a restart the last one that was read; any other change makes it a new file. `unreadable`
    also counts gaps.
    """

    def __init__(
        self, path: Path, window: WindowSpec, *, poll_s: float = 0.5, settle_s: float = 1.0, begin: Begin = "new",
        clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        """See `WatchOptions`. Raises SourceError when there is no such folder."""
        super().__init__(path, series.EXTENSIONS, poll_s, settle_s, begin, clock)
        self._window = window
        self._done: OrderedDict[str, _Done] = OrderedDict()
        self._last: Position = {}  # of the last window

    @property
    def position(self) -> Position:
        """Where another watch of the folder goes on, also before the first sample."""
        return {**super().position, **self._last}

    def resume(self, position: Position) -> None:
        """Go on behind the window that had this position; its file may be gone. Raises SourceError for one of another
        source."""
        folder = {"mtime_ns": int, "newest": str}
        window = {"file": str, "inode": int, "size": int, "row": int}
        require_keys(
            position, folder if position.keys() == folder.keys() else {**folder, **window}, self.name
        )
        self._last = {key: position[key] for key in window if key in position}
        self._done.clear()
        file = None
        if self._last:
            file = str(position["file"])
            self._remember(file, _Done(int(position["inode"]), int(position["size"]), int(position["row"])))
        self._arrivals = self._new_arrivals()
        self._arrivals.take_present(up_to=(int(position["mtime_ns"]), str(position["newest"])), but=file)

    def _samples(self, file: Arrival) -> Iterator[Sample]:
        done = self._done.get(file.name)
        grown = done is not None and done.inode == file.inode and done.size <= file.size
        try:
            yield from self._windows(file, done.row if done is not None and grown else None)
        except DataError as error:
            self._skip(file, error)
        else:
            if not self._closing.is_set():
                self._arrivals.take(file)

    def _windows(self, file: Arrival, after: int | None) -> Iterator[Sample]:
        opened = series.open_windowed(Path(file.path), self._window)

        def count(new: int, gaps: list[Gap]) -> None:
            self.unreadable += new
            log_gaps(opened.path, gaps)

        try:
            for found in cut(opened, self._window, closing=self._closing, on_gaps=count, after=after):
                row = found.window.row
                self._remember(file.name, _Done(file.inode, file.size, row))
                self._last = {"file": file.name, "inode": file.inode, "size": file.size, "row": row}
                yield sample_of(found, opened.path, self.position)
        except SourceError as error:  # what stands in it now is not what was read before
            log.warning("%s; it is read from its first row", error.what)
            yield from self._windows(file, None)

    def _remember(self, name: str, done: _Done) -> None:
        self._done[name] = done
        self._done.move_to_end(name)
        while len(self._done) > GROWING_FILES:
            self._done.popitem(last=False)


def _time(file: Arrival) -> datetime:
    return datetime.fromtimestamp(file.instant_ns / 1e9, timezone.utc)
