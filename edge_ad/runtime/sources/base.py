"""What a source of inputs is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from edge_ad.runtime.sample import Position, Sample

# Told whenever a source goes away (False) or comes (True), with a clause for people.
OnAvailability = Callable[[bool, str], None]


class Source(Protocol):
    """Something to read inputs from, once, in order.

    name: what it reads, as shown to the user (never with a password).
    live: a camera, sensor or network stream, of which only the newest input counts. The others are replays: every
        input comes, however slow the reader.
    acquired, dropped, unreadable: inputs read so far; of these, those that a newer one replaced before it was
        asked for; and inputs that could not be read. When a live source is closed, acquired - dropped is the
        number of samples it gave.
    """

    name: str
    live: bool

    @property
    def acquired(self) -> int:
        """See above."""
        ...

    @property
    def dropped(self) -> int:
        """See above."""
        ...

    @property
    def unreadable(self) -> int:
        """See above."""
        ...

    def __iter__(self) -> Iterator[Sample]:
        """The samples. Raises SourceError where reading cannot go on."""
        ...

    def close(self) -> None:
        """Release the device or file. May be called from another thread: iteration then ends."""
        ...


class Resumable(Source, Protocol):
    """A source that can be wound forward: its samples carry a `position`."""

    def resume(self, position: Position) -> None:
        """Go on behind the sample that had this position. Called before the iteration. Raises SourceError for a
        position that is not of this source."""
        ...


class Bursty(Source, Protocol):
    """A live source whose samples may come many at once: so many are kept before the oldest is dropped."""

    burst: int


class Watched(Source, Protocol):
    """A source that tells when it goes away and comes back.

    on_availability: set by who reads it, before the iteration; called from the thread that iterates.
    """

    on_availability: OnAvailability | None
