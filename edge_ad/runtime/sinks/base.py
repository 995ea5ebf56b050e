"""What a sink, a receiver of events, is."""

from __future__ import annotations

from typing import Protocol

from edge_ad.runtime.events import Event, Score, State


class Sink(Protocol):
    """A receiver of events, open from its making until `close`. Used by one thread at a time.

    name: as shown to the user (never with a password). lost: events that `event` accepted and that are not
    known to have arrived; final after `close`.
    """

    name: str
    lost: int

    def event(self, event: Event) -> None:
        """Hand over an event. Raises SinkError; the same event may then be handed over again."""
        ...

    def state(self, state: State) -> None:
        """Show what a stream is at now, where the sink has a place for that. Raises SinkError."""
        ...

    def score(self, score: Score) -> None:
        """Show one frame's score, where the sink has a place for that. Raises SinkError."""
        ...

    def close(self) -> None:
        """Finish what is under way, within a limit, and release what is held."""
        ...


class EventSink:
    """The part that sinks for events alone have in common."""

    lost = 0

    def state(self, state: State) -> None:
        """Not written."""

    def score(self, score: Score) -> None:
        """Not written."""
