"""A line with faults, put between a client and its port: bytes are lost, changed or late, both ways."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Faults:
    """drop, flip: chance that a byte is lost, and that one of its bits is another. delay: chance that a block that is
    read or written comes `delay_s` late. The same seed gives the same faults to the same blocks."""

    drop: float = 0.0
    flip: float = 0.0
    delay: float = 0.0
    delay_s: float = 0.05
    seed: int = 0


@dataclass
class Injected:
    """What happened on a line: bytes carried, lost and changed, blocks that were late."""

    carried: int = 0
    dropped: int = 0
    flipped: int = 0
    delayed: int = 0


class FaultyPort:
    """An open serial port of pyserial's over such a line. injected: counts both ways."""

    def __init__(self, port: Any, faults: Faults):
        self._port = port
        self._faults = faults
        self._rng = random.Random(faults.seed)
        self._guard = threading.Lock()
        self.injected = Injected()

    def read(self, size: int = 1) -> bytes:
        """What is left of the bytes that came."""
        return self._spoiled(self._port.read(size))

    def write(self, data: bytes) -> int:
        """Send what is left of them. The number that was asked for: a sender does not know."""
        if rest := self._spoiled(bytes(data)):
            self._port.write(rest)
        return len(data)

    def close(self) -> None:
        """Close the port."""
        self._port.close()

    @property
    def in_waiting(self) -> int:
        """Bytes that have come, before anything happens to them."""
        return int(self._port.in_waiting)

    @property
    def timeout(self) -> float | None:
        """Of the port."""
        seconds: float | None = self._port.timeout
        return seconds

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._port.timeout = seconds

    def _spoiled(self, block: bytes) -> bytes:
        if not block:
            return block
        faults, rng = self._faults, self._rng
        with self._guard:
            late = rng.random() < faults.delay
            kept = bytearray()
            for byte in block:
                if rng.random() < faults.drop:
                    self.injected.dropped += 1
                    continue
                if rng.random() < faults.flip:
                    self.injected.flipped += 1
                    byte ^= 1 << rng.randrange(8)
                kept.append(byte)
            self.injected.carried += len(block)
            self.injected.delayed += late
        if late:
            time.sleep(faults.delay_s)
        return bytes(kept)
