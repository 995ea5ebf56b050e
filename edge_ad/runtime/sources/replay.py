"""Sources that replay what is stored: folders of images or scans, video files, arrays. No input is dropped."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from edge_ad.errors import DataError, SourceError
from edge_ad.runtime import scans
from edge_ad.runtime.engines.base import Tensor
from edge_ad.runtime.images import EXTENSIONS, import_cv2, list_images, read_image
from edge_ad.runtime.sample import Position, Sample
from edge_ad.runtime.scans import list_scans, read_scan
from edge_ad.runtime.sources.capture import open_video_file

log = logging.getLogger(__name__)

Pace = Literal["fast", "recorded"]
BEGIN_ANEW = "to begin at its start, give the stream another name"


class ReplayOptions(BaseModel):
    """How a recording is played. pace: as fast as it is read, or `recorded`: as slowly as it was recorded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pace: Pace = "fast"


class Pacer:
    """Holds inputs of a recording back until as much time has passed as did between them when they were recorded."""

    def __init__(self, wait: Callable[[float], object], *, clock: Callable[[], float] = time.monotonic):
        """wait: told how many seconds to wait; may return early."""
        self._wait = wait
        self._clock = clock
        self._offset: float | None = None

    def begin(self) -> None:
        """Another recording: its first input comes at once."""
        self._offset = None

    def hold(self, recorded_s: float) -> None:
        """Wait for the moment of an input that was recorded at `recorded_s`, if that is still to come."""
        now = self._clock()
        if self._offset is None:
            self._offset = now - recorded_s
        if (ahead := self._offset + recorded_s - now) > 0:
            self._wait(ahead)


class Replay(ABC):
    """Counters, pace and closing, as all replays have them; `_read` gives the samples."""

    live = False

    def __init__(self, path: Path, pace: Pace = "fast"):
        self.name = str(path)
        self.acquired = 0
        self.dropped = 0
        self.unreadable = 0
        self._closing = threading.Event()
        self._pacer = Pacer(self._closing.wait) if pace == "recorded" else None
        self._resumed = False

    def __iter__(self) -> Iterator[Sample]:
        for sample in self._read():
            if self._closing.is_set():
                return
            self.acquired += 1
            yield sample

    @abstractmethod
    def _read(self) -> Iterator[Sample]:
        """All samples, from where the replay begins."""

    def close(self) -> None:
        """End the iteration, also one that waits; from any thread."""
        self._closing.set()

    @property
    def _gave_nothing(self) -> bool:
        """Whether it came to its end, from its beginning, without any sample."""
        return self.acquired == 0 and not self._resumed and not self._closing.is_set()


class Files(Replay):
    """One file, or all of its kind below a folder, sorted by path. One that is unreadable is logged and counted."""

    def __init__(
        self, path: Path, list_files: Callable[[Path], list[Path]], read: Callable[[Path], Tensor], what: str,
        extensions: Sequence[str],
    ):  # fmt: skip
        """list_files: those of the kind below a folder. what: one of them, for errors. Raises SourceError when there
        is none."""
        super().__init__(path)
        if not path.exists():
            raise SourceError("there is no such folder or file", where=path)
        self._folder = path if path.is_dir() else path.parent
        self._files = list_files(path) if path.is_dir() else [path]
        self._load, self._what = read, what
        self._first = 0
        if not self._files:
            raise SourceError(
                f"there are no {what}s in it", where=path, hint=f"known: {', '.join(extensions)}"
            )

    def resume(self, position: Position) -> None:
        """Go on behind the file `file`, a path below the folder. Raises SourceError when that is gone."""
        require_keys(position, {"file": str}, self.name)
        self._first = index_of(position, self._folder, self._files) + 1
        self._resumed = True

    def _read(self) -> Iterator[Sample]:
        for file in self._files[self._first :]:
            if self._closing.is_set():
                return
            try:
                data = self._load(file)
            except DataError as error:
                self.unreadable += 1
                log.warning("skipped: %s", error)
                continue
            name = name_below(self._folder, file)
            yield Sample(data, name, datetime.now(timezone.utc), {"file": name})
        if self._gave_nothing:
            raise SourceError(f"none of its {len(self._files)} {self._what}s could be read", where=self.name)


class Images(Files):
    """One image file, or all below a folder."""

    def __init__(self, path: Path):
        """Raises SourceError when there is no image."""
        super().__init__(path, list_images, read_image, "image", EXTENSIONS)


class Scans(Files):
    """One LiDAR scan, or all below a folder."""

    def __init__(self, path: Path):
        """Raises SourceError when there is no scan."""
        super().__init__(path, list_scans, read_scan, "scan", scans.EXTENSIONS)


class VideoFile(Replay):
    """The frames of a video file."""

    def __init__(self, path: Path, *, pace: Pace = "fast"):
        """pace: `recorded` plays it at its frames a second. Raises SourceError for a file that is missing or no video,
        or that does not say its frames a second where those are needed."""
        super().__init__(path, pace)
        self._cv2 = import_cv2()
        self._capture = open_video_file(path)
        self._stem = path.name
        # Containers without an index give an estimate, or nothing at all.
        self._expected = int(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        self._fps = float(self._capture.get(self._cv2.CAP_PROP_FPS))
        self._first = 0
        if self._pacer is not None and not 0 < self._fps < float("inf"):
            raise SourceError("does not say its frames a second", where=path, hint="leave pace=recorded out")

    def resume(self, position: Position) -> None:
        """Go on behind the frame `frame`, from 0. Raises SourceError for a position in another file."""
        require_keys(position, {"file": str, "frame": int}, self.name)
        require_file(position, self._stem, self.name)
        self._first = int(position["frame"]) + 1
        self._resumed = True

    def _read(self) -> Iterator[Sample]:
        try:
            number = self._skip()
            while not self._closing.is_set():
                whole, frame = self._capture.read()
                if not whole:
                    break
                data = self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB)
                if self._pacer is not None:
                    self._pacer.hold(number / self._fps)
                name = f"{self._stem}#{number}"
                position: Position = {"file": self._stem, "frame": number}
                yield Sample(data, name, datetime.now(timezone.utc), position)
                number += 1
        finally:
            self._capture.release()
        if self._gave_nothing:
            raise SourceError("no frame of the video can be decoded", where=self.name)
        if number < self._expected and not self._closing.is_set():
            self.unreadable = self._expected - number
            log.warning("%s: ended after %d of %d frames", self.name, number, self._expected)

    def _skip(self) -> int:
        """Pass over the frames before the first one that is wanted; how many. Decoders that are told to seek land on
        the nearest key frame, so each is grabbed."""
        for number in range(self._first):
            if self._closing.is_set():
                return number
            if not self._capture.grab():
                raise SourceError(f"ends before frame {self._first - 1}", where=self.name, hint=BEGIN_ANEW)
        return self._first


class Array(Replay):
    """An .npy file with one input a row: images (N, H, W, 3) uint8 RGB, or numbers (N, …) for networks that take
    those. Read as it is needed."""

    def __init__(self, path: Path):
        """Raises SourceError for a file that is missing, damaged or no such array."""
        super().__init__(path)
        self._rows = _load(path)
        self._file = path.name
        self._first = 0

    def resume(self, position: Position) -> None:
        """Go on behind the row `row`, from 0. Raises SourceError for a position in another file."""
        require_keys(position, {"file": str, "row": int}, self.name)
        require_file(position, self._file, self.name)
        row = int(position["row"])
        if row >= len(self._rows):
            raise SourceError(f"has no row {row}, only {len(self._rows)}", where=self.name, hint=BEGIN_ANEW)
        self._first = row + 1
        self._resumed = True

    def _read(self) -> Iterator[Sample]:
        for number in range(self._first, len(self._rows)):
            data = np.ascontiguousarray(self._rows[number])
            position: Position = {"file": self._file, "row": number}
            yield Sample(data, str(number), datetime.now(timezone.utc), position)


def name_below(folder: Path, file: Path) -> str:
    """A file's path below a folder, as `printable`."""
    return printable(str(file.relative_to(folder)))


def printable(name: str) -> str:
    """A file's name with bytes that are no UTF-8 written as \\xNN, so that any receiver can take it."""
    return (
        name
        if name.isascii()
        else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    )


def require_keys(position: Position, keys: Mapping[str, type], where: str) -> None:
    """Raise SourceError for a position that does not hold just these values, none below 0."""
    right = position.keys() == keys.keys() and all(
        type(value) is keys[key] and (isinstance(value, str) or value >= 0) for key, value in position.items()
    )
    if not right:
        shown = ", ".join(f"{key}={value}" for key, value in position.items())[:200]
        raise SourceError(f"({shown}) is no position of this source", where=where, hint=BEGIN_ANEW)


def require_file(position: Position, file: str, where: str) -> None:
    """Raise SourceError for a position in another file."""
    if position["file"] != file:
        raise SourceError(f"the position is one in '{position['file']}'", where=where, hint=BEGIN_ANEW)


def index_of(position: Position, folder: Path, files: Sequence[Path]) -> int:
    """Which of the files a position is of. Raises SourceError when it is gone."""
    wanted = position["file"]
    for index, file in enumerate(files):
        if name_below(folder, file) == wanted:
            return index
    raise SourceError(f"'{wanted}', where it should go on, is gone", where=folder, hint=BEGIN_ANEW)


def _load(path: Path) -> Any:
    expected = "an array (N, …) of numbers is expected, for images (N, H, W, 3) of uint8"
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise SourceError("there is no such file", where=path) from error
    except (OSError, ValueError, EOFError) as error:
        raise SourceError(f"is no .npy file that can be read ({error})", where=path, hint=expected) from error
    if not isinstance(rows, np.ndarray) or rows.ndim < 2 or rows.dtype.kind not in "fiu":
        found = f"{rows.shape} {rows.dtype}" if isinstance(rows, np.ndarray) else "an archive"
        raise SourceError(f"holds {found}", where=path, hint=expected)
    if len(rows) == 0:
        raise SourceError("holds no rows", where=path)
    return rows
