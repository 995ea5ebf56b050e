"""Handing samples from one stage's thread to the next one's."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Handoff(Generic[Item]):
    """A bounded queue between two threads, one on each side.

    newest_wins: a full queue gives up its oldest item for a new one, counted in `dropped`; else `put` waits.
    """

    def __init__(self, capacity: int, *, newest_wins: bool = False):
        self.dropped = 0
        self._capacity = capacity
        self._newest_wins = newest_wins
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: Item) -> bool:
        """Hand an item over; False when nobody takes any more."""
        with self._changed:
            if not self._newest_wins:
                self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            elif len(self._items) >= self._capacity:
                self._items.popleft()
                self.dropped += 1
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def end(self, error: BaseException | None = None) -> None:
        """There will be no more items; `error`, if any, is raised on the other side behind the last one."""
        with self._changed:
            self._ended = True
            self._error = error
            self._changed.notify_all()

    def get(self) -> Item | None:
        """The next item, None behind the last one. Raises the error that ended the other side."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended or self._closed)
            if self._closed:
                return None
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None:
                raise self._error
            return None

    def close(self) -> None:
        """Take nothing more; what is held is given up, and counted where the newest wins."""
        with self._changed:
            self._closed = True
            if self._newest_wins:
                self.dropped += len(self._items)
            self._items.clear()
            self._changed.notify_all()
