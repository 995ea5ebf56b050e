"""A line that loses, changes, repeats, reorders and delays bytes, between two pseudo-terminals."""

from __future__ import annotations

import os
import pty
import random
import select
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager


def spoiled(block: bytes, rng: random.Random, kind: str, one_in: int) -> list[bytes]:
    """What becomes of a block of bytes on this line, one time in so many."""
    if rng.random() > 1 / one_in:
        return [block]
    place = rng.randrange(len(block))
    if kind == "loss":
        return [block[:place] + block[place + 1 + rng.randrange(8) :]]
    if kind == "change":
        return [block[:place] + bytes([block[place] ^ 1 << rng.randrange(8)]) + block[place + 1 :]]
    if kind == "repetition":
        return [block, block]
    if kind == "order":
        return [block[place:], block[:place]]
    time.sleep(0.05)
    return [block]


@contextmanager
def noisy(line: str | int, kind: str, seed: int, *, one_in: int = 8) -> Iterator[str]:
    """A pseudo-terminal that leads to another one (its path, or a descriptor) over such a line, both ways."""
    far = os.dup(line) if isinstance(line, int) else os.open(line, os.O_RDWR | os.O_NOCTTY)
    near, end = pty.openpty()
    for terminal in (far, near, end):
        tty.setraw(terminal)
    stop, rng = threading.Event(), random.Random(seed)

    def carry() -> None:
        while not stop.is_set():
            for source in select.select([far, near], [], [], 0.05)[0]:
                target = near if source == far else far
                for piece in spoiled(os.read(source, 256), rng, kind, one_in):
                    os.write(target, piece)

    thread = threading.Thread(target=carry)
    thread.start()
    try:
        yield os.ttyname(end)
    finally:
        stop.set()
        thread.join()
        for terminal in (far, near, end):
            os.close(terminal)
