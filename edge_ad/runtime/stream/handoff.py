"""Handing samples from one stage's thread to the next one's."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

MAX_ITEMS = 64
MAX_BYTES = 16 << 20


class Handoff(Generic[Item]):
    """A bounded queue between two threads, one on each side.

    newest_wins: a full queue gives up its oldest item for a new one, counted in `dropped`; else `put` waits, and once
    it has to, until half of the queue is taken: two threads that wake each other for every item get little else done.
    """

    def __init__(
        self, capacity: int = MAX_ITEMS, *, max_bytes: int = MAX_BYTES, newest_wins: bool = False,
        inherit: Callable[[Item, Item], Item] | None = None,
    ):  # fmt: skip
        """capacity: items at most. max_bytes: of what they hold, as `put` is told; one item fits in any case. inherit:
        what an item that is given up leaves to the one behind it."""
        self._inherit = inherit
        self.dropped = 0
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._newest_wins = newest_wins
        self._items: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._emptied = threading.Condition(lock)
        self._taking = self._putting = False  # whether somebody waits there
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: Item, n_bytes: int = 0) -> bool:
        """Hand an item over; False when nobody takes any more."""
        with self._filled:
            if self._full(n_bytes):
                if self._newest_wins:
                    while self._items and self._full(n_bytes):
                        dropped = self._take()
                        self.dropped += 1
                        if self._inherit is None:
                            continue
                        if self._items:
                            heir, heir_bytes = self._items[0]
                            self._items[0] = self._inherit(dropped, heir), heir_bytes
                        else:
                            item = self._inherit(dropped, item)
                else:
                    self._putting = True
                    self._emptied.wait_for(
                        lambda: self._closed or not self._items or self._half_empty(n_bytes)
                    )
                    self._putting = False
            if self._closed:
                return False
            self._items.append((item, n_bytes))
            self._bytes += n_bytes
            if self._taking:
                self._filled.notify()
            return True

    @property
    def starved(self) -> bool:
        """Whether the other side waits for an item."""
        return self._taking and not self._items

    def end(self, error: BaseException | None = None) -> None:
        """There will be no more items; `error`, if any, is raised on the other side behind the last one."""
        with self._filled:
            self._ended = True
            self._error = error
            self._filled.notify()

    def get(self) -> Item | None:
        """The next item, None behind the last one. Raises the error that ended the other side."""
        with self._filled:
            if not (self._items or self._ended or self._closed):
                self._taking = True
                self._filled.wait_for(lambda: self._items or self._ended or self._closed)
                self._taking = False
            if self._closed:
                return None
            if self._items:
                item = self._take()
                if self._putting:
                    self._emptied.notify()
                return item
            if self._error is not None:
                raise self._error
            return None

    def close(self) -> None:
        """Take nothing more; what is held is given up, and counted where the newest wins."""
        with self._filled:
            self._closed = True
            if self._newest_wins:
                self.dropped += len(self._items)
            self._items.clear()
            self._bytes = 0
            self._filled.notify()
            self._emptied.notify()

    def _take(self) -> Item:
        item, n_bytes = self._items.popleft()
        self._bytes -= n_bytes
        return item

    def _full(self, n_bytes: int) -> bool:
        return len(self._items) >= self._capacity or (
            bool(self._items) and self._bytes + n_bytes > self._max_bytes
        )

    def _half_empty(self, n_bytes: int) -> bool:
        return len(self._items) <= self._capacity // 2 and self._bytes + n_bytes <= self._max_bytes
