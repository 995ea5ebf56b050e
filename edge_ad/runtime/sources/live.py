"""Cameras and network streams: one thread reads all the time, the newest frame wins, drops are counted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from edge_ad.errors import SourceError
from edge_ad.runtime.images import import_cv2
from edge_ad.runtime.sample import Sample

log = logging.getLogger(__name__)

_PAUSE_S = 0.1  # between a failed read of a camera and the next try
_JOIN_S = 3.0  # a read that hangs in a driver must not hang the program


class LiveSource:
    """An opened `cv2.VideoCapture`, read by a thread of its own, which alone touches it and releases it.

    OpenCV keeps frames of its own in a queue; reading without a pause is what makes the newest frame new.
    """

    live = True

    def __init__(self, name: str, capture: Any, *, stall_s: float, tolerated_failures: int = 0):
        """stall_s: longest wait for a frame. tolerated_failures: reads in a row that may fail (USB)."""
        self.name = name
        self.acquired = 0
        self.dropped = 0
        self.unreadable = 0
        self._cv2 = import_cv2()
        self._capture = capture
        self._stall_s = stall_s
        self._tolerated_failures = tolerated_failures
        self._latest: tuple[Any, int, datetime] | None = None
        self._ended = False
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._acquire, name=f"source {name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Sample]:
        """The newest frame each time. Raises SourceError when the stream ends or stalls."""
        while (taken := self._take()) is not None:
            frame, number, ts = taken
            yield Sample(self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB), str(number), ts)

    def close(self) -> None:
        """Stop reading; a frame that nobody took counts as dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(_JOIN_S)
        with self._changed:
            self.dropped += self._latest is not None
            self._latest = None

    def _take(self) -> tuple[Any, int, datetime] | None:
        """The newest frame not yet taken, its number and time; None once closed."""
        with self._changed:
            ready = self._changed.wait_for(
                lambda: self._latest is not None or self._ended or self._closing, self._stall_s
            )
            if self._closing:
                return None
            if not ready:
                raise SourceError(
                    f"no frame for {self._stall_s:g} s",
                    where=self.name,
                    hint="check the camera and its cable",
                )
            if self._latest is None:
                raise SourceError(
                    f"the stream ended after {self.acquired} frames",
                    where=self.name,
                    hint="check the camera and its cable",
                )
            taken, self._latest = self._latest, None
            return taken

    def _acquire(self) -> None:
        try:
            self._read_all()
            self._capture.release()
        finally:  # whatever a driver throws, who waits for a frame is told
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _read_all(self) -> None:
        failures = 0
        while not self._closing and failures <= self._tolerated_failures:
            whole, frame = self._read()
            if not whole:
                failures += 1
                self.unreadable += failures <= self._tolerated_failures
                time.sleep(_PAUSE_S if self._tolerated_failures else 0)
                continue
            failures = 0
            with self._changed:
                self.dropped += self._latest is not None
                self._latest = frame, self.acquired, datetime.now(timezone.utc)
                self.acquired += 1
                self._changed.notify_all()

    def _read(self) -> tuple[bool, Any]:
        try:
            whole, frame = self._capture.read()
        except self._cv2.error as error:  # a frame that cannot be decoded, a device that is gone
            log.debug("%s: %s", self.name, error)
            return False, None
        return bool(whole), frame
