"""Which files of a folder are new, and whole."""

from __future__ import annotations

import heapq
import logging
import os
import time
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from edge_ad.errors import SourceError
from edge_ad.runtime.sources.replay import printable

log = logging.getLogger(__name__)

KEPT = 2048  # files that are remembered as handled; of older ones their age tells
BATCH = 1024  # new files that are looked at together

Key = tuple[int, str]
Mark = tuple[str | int, int, int]


class Arrival(NamedTuple):
    """A file as it was seen; they are ordered by instant and name.

    instant_ns: when it was written, in ns since 1970: the older of its two times, as a writer can set `mtime_ns` to
    what it likes, also ahead. name: path below the folder. path: the same, to open it by.
    """

    instant_ns: int
    name: str
    mtime_ns: int
    size: int
    inode: int
    path: str

    @property
    def key(self) -> Key:
        """What they are ordered by."""
        return self.instant_ns, self.name

    @property
    def marks(self) -> tuple[Mark, Mark]:
        """What a file is known by again, also when it was renamed. Another content has another size or time."""
        return (self.name, self.mtime_ns, self.size), (self.inode, self.mtime_ns, self.size)


class Arrivals:
    """The files below a folder that were not `take`n yet, as they become whole.

    A file is whole when size and time stay the same for `settle_s`. Of those that were taken the newest `KEPT` are
    remembered: a file among or above them is new, whatever its time, when it is none of them; one older than all of
    them is not. newest: the highest key taken.
    """

    def __init__(
        self, folder: Path, extensions: tuple[str, ...], *, settle_s: float, clock: Callable[[], float] = time.monotonic
    ):  # fmt: skip
        """extensions: in lower case. Raises SourceError when there is no such folder."""
        self.newest: Key = (0, "")
        self._folder = folder
        self._prefix = len(str(folder).rstrip("/")) + 1  # of the paths that scandir gives
        self._extensions = extensions
        self._settle_s = settle_s
        self._clock = clock
        self._identity = self._folder_identity()
        self._taken: list[tuple[Key, tuple[Mark, Mark]]] = []  # heap, the oldest first
        self._marks: dict[Mark, Key] = {}  # theirs
        self._floor: Key = (-1, "")  # all up to this one is taken
        self._pending: dict[str, tuple[int, int, float]] = {}  # time, size, since when both are so
        self._refused: set[str] = set()

    def take(self, file: Arrival) -> None:
        """It is handled."""
        self.newest = max(self.newest, file.key)
        heapq.heappush(self._taken, (file.key, file.marks))
        self._marks.update(dict.fromkeys(file.marks, file.key))
        while len(self._taken) > KEPT:
            key, marks = heapq.heappop(self._taken)
            self._floor = max(self._floor, key)  # they are not taken in the order of their keys at the start
            for mark in marks:
                if self._marks.get(mark) == key:
                    del self._marks[mark]

    def take_present(self, *, up_to: Key | None = None, but: str | None = None) -> None:
        """All files there now, or those up to a key, are handled, but for one by name. Raises SourceError as `whole`
        does."""
        for file in self._walk():
            if (up_to is None or file.key <= up_to) and file.name != but:
                self.take(file)
        self._require_folder()
        if up_to is not None:
            self.newest = up_to
        elif self.newest == (0, ""):
            # An empty folder may be a mount that is yet to come: what is older than this moment was there before it.
            self.newest = (time.time_ns(), "")

    def whole(self) -> list[Arrival]:
        """The oldest new files, as far as they are whole: none comes before one that is older and still being written.

        Raises SourceError when the folder is gone, or is another one: a mount came or went.
        """
        self._require_folder()
        new = heapq.nsmallest(BATCH, (file for file in self._walk() if self._is_new(file)))
        self._require_folder()  # a walk through a folder that goes away meanwhile tells nothing
        now = self._clock()
        before, self._pending = self._pending, {}
        for file in new:
            seen = before.get(file.name)
            same = seen is not None and seen[:2] == (file.mtime_ns, file.size)
            self._pending[file.name] = seen if seen is not None and same else (file.mtime_ns, file.size, now)
        return list(takewhile(lambda file: now - self._pending[file.name][2] >= self._settle_s, new))

    def is_unchanged(self, file: Arrival) -> bool | None:
        """Whether a file still is what was seen; None when it is gone. Raises SourceError when its folder is."""
        try:
            stat = Path(file.path).stat()
        except OSError:
            self._require_folder()
            return None
        return (stat.st_mtime_ns, stat.st_size) == (file.mtime_ns, file.size)

    def _is_new(self, file: Arrival) -> bool:
        return file.key > self._floor and not any(mark in self._marks for mark in file.marks)

    def _walk(self) -> Iterator[Arrival]:
        """The files, in no order; one at a time, as there may be very many."""
        folders = [str(self._folder)]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        elif entry.name.lower().endswith(self._extensions):
                            yield from self._arrival(entry)
            except FileNotFoundError:
                continue  # it went away meanwhile
            except PermissionError as error:
                self._refuse(folder, error)
            except OSError as error:
                raise SourceError(f"cannot be read ({error.strerror})", where=folder) from error

    def _arrival(self, entry: os.DirEntry[str]) -> Iterator[Arrival]:
        try:
            if not entry.is_file():
                return
            stat = entry.stat()
        except FileNotFoundError:
            return
        instant_ns = min(stat.st_mtime_ns, stat.st_ctime_ns)
        name = printable(entry.path[self._prefix :])
        yield Arrival(instant_ns, name, stat.st_mtime_ns, stat.st_size, stat.st_ino, entry.path)

    def _refuse(self, folder: str, error: OSError) -> None:
        if folder == str(self._folder):
            raise SourceError(f"cannot be read ({error.strerror})", where=folder) from error
        if folder not in self._refused:  # such as lost+found: said once
            self._refused.add(folder)
            log.warning("%s: passed over: cannot be read (%s)", folder, error.strerror)

    def _require_folder(self) -> None:
        if self._folder_identity() != self._identity:
            raise SourceError("is another folder than before: a mount came or went", where=self._folder)

    def _folder_identity(self) -> tuple[int, int]:
        try:
            stat = self._folder.stat()
        except OSError as error:
            what = "there is no such folder" if isinstance(error, FileNotFoundError) else error.strerror
            raise SourceError(
                str(what), where=self._folder, hint="create it, or mount what holds it"
            ) from error
        if not self._folder.is_dir():
            raise SourceError("is no folder", where=self._folder, hint="watch the folder that it is in")
        return stat.st_dev, stat.st_ino
