"""A folder that is watched, somebody who reads, and what may happen to the folder."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.bundle.manifest import WindowSpec
from edge_ad.errors import SourceError
from edge_ad.runtime.images import EXTENSIONS, import_cv2, read_image
from edge_ad.runtime.sample import Position, Sample
from edge_ad.runtime.sources.reconnect import Reconnecting
from edge_ad.runtime.sources.watch import WatchFolder

POLL_S = 0.01
WINDOW = WindowSpec(length=4, hop=2, rate_hz=1.0, channels=["a", "b"])


def png(red: int) -> bytes:
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[..., 2] = red
    return bytes(import_cv2().imencode(".png", rgb)[1])


def red(sample: Sample) -> int:
    return int(np.asarray(sample.data)[0, 0, 0])


def put(path: Path, content: bytes, at_s: float | None = None) -> Path:
    """Bring a file in whole: written elsewhere, then renamed into place. at_s: the time that it is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    aside.write_bytes(content)
    if at_s is not None:
        os.utime(aside, (at_s, at_s))
    return aside.rename(path)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


class Clock:
    """Stands still until it is moved; knows how often it was looked at, which is once a look at the folder."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return self.now

    def wait_for_looks(self, count: int = 2) -> None:
        """The last of two looks has begun after this was called."""
        wanted = self.looks + count
        wait_until(lambda: self.looks >= wanted)


def watch(folder: Path, **options: Any) -> WatchFolder:
    options = {"poll_s": POLL_S, "settle_s": 0, **options}
    return WatchFolder(folder, read_image, "image", EXTENSIONS, **options)


class Reading:
    """A source that is read by a thread, as a stream does."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.samples: list[Sample] = []
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for sample in self.source:
                self.samples.append(sample)
        except SourceError as error:
            self.error = error

    @property
    def names(self) -> list[str]:
        return [sample.name for sample in self.samples]

    def wait_for(self, count: int) -> list[str]:
        wait_until(lambda: len(self.samples) >= count)
        return self.names

    def close(self) -> None:
        self.source.close()
        self.thread.join(30)
        assert not self.thread.is_alive()


Read = Callable[[Any], Reading]


def away(folder: Path) -> Path:
    """A mount that goes away, as far as one without mounts can show it."""
    return folder.rename(folder.with_name(folder.name + " away"))


class Mount:
    """A folder that comes and goes, watched again whenever it is back."""

    def __init__(self, folder: Path, watch_it: Callable[[Path], Any]) -> None:
        self.opened = 0
        self.told: list[bool] = []

        def open_() -> Any:
            source = watch_it(folder)
            self.opened += 1
            return source

        self.source = Reconnecting(str(folder), open_, live=False, backoff_s=(0.01, 0.05))
        self.source.on_availability = lambda online, reason: self.told.append(online)

    def wait_for(self, *told: bool) -> None:
        wait_until(lambda: self.told == list(told))


def stored(sample: Sample) -> Position:
    """A sample's position as it comes back from a disk."""
    position: Position = json.loads(json.dumps(sample.position))
    return position
