"""What a source of inputs is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from edge_ad.runtime.sample import Sample


class Source(Protocol):
    """Something to read inputs from, once, in order.

    name: what it reads, as shown to the user (never with a password).
    live: a camera or network stream, of which only the newest frame counts. The others are replays: every
        input comes, however slow the reader.
    acquired, dropped, unreadable: inputs read so far; of these, those that a newer one replaced before it was
        asked for; and inputs that could not be read. When a live source is closed, acquired - dropped is the
        number of samples it gave.
    """

    name: str
    live: bool
    acquired: int
    dropped: int
    unreadable: int

    def __iter__(self) -> Iterator[Sample]:
        """The samples. Raises SourceError where reading cannot go on."""
        ...

    def close(self) -> None:
        """Release the device or file. May be called from another thread: iteration then ends."""
        ...
