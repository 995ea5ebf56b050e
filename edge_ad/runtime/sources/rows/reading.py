"""Reading from files, pipes and ports so that another thread can end it at once."""

from __future__ import annotations

import io
import os
import select
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any

import serial

from edge_ad.errors import SourceError

MOST_BYTES = 1 << 16
_SLICE_S = 0.2  # of a port that cannot be waited for together with something else


class Waiter:
    """Waits until a file can be read, or until somebody calls `wake`, which then holds for good."""

    def __init__(self) -> None:
        self._wakes, self._wake = os.pipe2(os.O_CLOEXEC)
        self._writing = threading.Lock()  # several may wake at once, one of them may close at once afterwards
        self.woken = False

    def wait(self, file: int, timeout_s: float | None) -> bool:
        """Whether there is something to read (an end or a failure, too); False after `timeout_s` or a `wake`."""
        poll = select.poll()
        poll.register(file, select.POLLIN)
        poll.register(self._wakes, select.POLLIN)
        ready = poll.poll(None if timeout_s is None else max(0.0, timeout_s) * 1000)
        return not self.woken and any(number == file for number, _ in ready)

    def wake(self) -> None:
        """End the wait, this one and all that follow."""
        with self._writing:
            if not self.woken:
                self.woken = True
                os.write(self._wake, b"x")

    def close(self) -> None:
        """Nobody waits any more."""
        with self._writing:
            self.woken = True  # the numbers may soon be those of other files
            os.close(self._wakes)
            os.close(self._wake)


class _Reader(ABC):
    """What both readers do: `close` wakes whoever reads, and only then takes the file away."""

    def __init__(self, where: str):
        self._where = where
        self._waiter = Waiter()
        self._in_use = threading.Lock()
        self._released = False

    @property
    def closed(self) -> bool:
        """Whether somebody has closed it."""
        return self._waiter.woken

    def read(self, timeout_s: float | None = None) -> bytes | None:
        """What there is, as soon as there is something; b"" after `timeout_s`; None at the end and once closed. Raises
        SourceError."""
        with self._in_use:
            return None if self._waiter.woken or self._released else self._read(timeout_s)

    def close(self) -> None:
        """Release the file, from any thread; a `read` that waits ends at once."""
        if not self._released:
            self._waiter.wake()
        with self._in_use:
            if not self._released:
                self._released = True
                self._release()
                self._waiter.close()

    @abstractmethod
    def _read(self, timeout_s: float | None) -> bytes | None:
        """As `read`, of a file that is open."""

    @abstractmethod
    def _release(self) -> None:
        """Give the file back."""


class FileReader(_Reader):
    """A file, pipe or terminal by its descriptor. owned: whether closing closes that, too."""

    def __init__(self, file: int, where: str, *, owned: bool = True):
        super().__init__(where)
        self._file, self._owned = file, owned

    def _read(self, timeout_s: float | None) -> bytes | None:
        try:
            if not self._waiter.wait(self._file, timeout_s):
                return None if self._waiter.woken else b""
            return os.read(self._file, MOST_BYTES) or None
        except OSError as error:
            raise SourceError(f"cannot be read ({error.strerror})", where=self._where) from error

    def _release(self) -> None:
        if self._owned:
            os.close(self._file)


class PortReader(_Reader):
    """An open serial port (`firmware_bridge.ports.open_port`, with a read time-out of 0), which it closes."""

    def __init__(self, port: Any, where: str):
        super().__init__(where)
        self.port = port
        self.parting = b""  # written when the port is closed, if it takes it
        try:
            self._file: int | None = port.fileno()
        except (io.UnsupportedOperation, AttributeError):  # rfc2217://, loop://
            self._file = None
            port.timeout = _SLICE_S

    def _read(self, timeout_s: float | None) -> bytes | None:
        try:
            if self._file is None:
                return self._read_in_slices(timeout_s)
            if not self._waiter.wait(self._file, timeout_s):
                return None if self._waiter.woken else b""
            return bytes(self.port.read(MOST_BYTES))
        except (serial.SerialException, OSError) as error:
            raise SourceError(
                f"the line was cut ({error})", where=self._where, hint="check plug, cable and power"
            ) from error

    def _read_in_slices(self, timeout_s: float | None) -> bytes | None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._waiter.woken:
            if data := bytes(self.port.read(max(1, self.port.in_waiting))):
                return data
            if deadline is not None and time.monotonic() >= deadline:
                return b""
        return None

    def _release(self) -> None:
        with suppress(serial.SerialException, OSError, ValueError):
            if self.parting:
                self.port.write(self.parting)
        with suppress(serial.SerialException, OSError):
            self.port.close()
