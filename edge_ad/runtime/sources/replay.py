"""Sources that replay what is stored: folders of images or scans, video files, arrays. No input is dropped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.errors import DataError, SourceError
from edge_ad.runtime import scans
from edge_ad.runtime.engines.base import Tensor
from edge_ad.runtime.images import EXTENSIONS, import_cv2, list_images, read_image
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.scans import list_scans, read_scan
from edge_ad.runtime.sources.capture import open_video_file

log = logging.getLogger(__name__)


class Replay:
    """Counters and closing, as all replays have them; `_read` gives the samples."""

    live = False

    def __init__(self, path: Path):
        self.name = str(path)
        self.acquired = 0
        self.dropped = 0
        self.unreadable = 0
        self._closed = False

    def __iter__(self) -> Iterator[Sample]:
        for sample in self._read():
            if self._closed:
                return
            self.acquired += 1
            yield sample

    def _read(self) -> Iterator[Sample]:
        raise NotImplementedError

    def close(self) -> None:
        """End the iteration."""
        self._closed = True


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
        if not self._files:
            raise SourceError(
                f"there are no {what}s in it", where=path, hint=f"known: {', '.join(extensions)}"
            )

    def _read(self) -> Iterator[Sample]:
        for file in self._files:
            try:
                data = self._load(file)
            except DataError as error:
                self.unreadable += 1
                log.warning("skipped: %s", error)
                continue
            yield Sample(data, str(file.relative_to(self._folder)), datetime.now(timezone.utc))
        if self.acquired == 0 and not self._closed:
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

    def __init__(self, path: Path):
        """Raises SourceError for a file that is missing or no video."""
        super().__init__(path)
        self._cv2 = import_cv2()
        self._capture = open_video_file(path)
        self._stem = path.name
        # Containers without an index give an estimate, or nothing at all.
        self._expected = int(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))

    def _read(self) -> Iterator[Sample]:
        number = 0
        while not self._closed:
            whole, frame = self._capture.read()
            if not whole:
                break
            data = self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB)
            yield Sample(data, f"{self._stem}#{number}", datetime.now(timezone.utc))
            number += 1
        if number == 0 and not self._closed:
            raise SourceError("no frame of the video can be decoded", where=self.name)
        if number < self._expected and not self._closed:
            self.unreadable = self._expected - number
            log.warning("%s: ended after %d of %d frames", self.name, number, self._expected)
        self._capture.release()


class Array(Replay):
    """An .npy file with one input a row: images (N, H, W, 3) uint8 RGB, or numbers (N, …) for networks that take
    those. Read as it is needed."""

    def __init__(self, path: Path):
        """Raises SourceError for a file that is missing, damaged or no such array."""
        super().__init__(path)
        self._rows = _load(path)

    def _read(self) -> Iterator[Sample]:
        for number, row in enumerate(self._rows):
            yield Sample(np.ascontiguousarray(row), str(number), datetime.now(timezone.utc))


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
