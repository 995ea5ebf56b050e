"""What a sink, a receiver of events, is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from edge_ad.runtime.events import Record
from edge_ad.runtime.notes import Crop, Note


@dataclass(frozen=True)
class StreamInfo:
    """What a receiver may want to know of a stream. allowed: the thresholds that a command may set, None: none.
    judged_here: whether this device scores its frames; False where it passes on what others have judged."""

    name: str
    bundle: str
    detector: str
    modality: str
    threshold: float
    allowed: tuple[float, float] | None
    judged_here: bool = True


@dataclass(frozen=True)
class DeviceInfo:
    """Who reports. version: of edge-ad."""

    node: str
    version: str
    streams: tuple[StreamInfo, ...]


@dataclass(frozen=True)
class Command:
    """What somebody asks of the device. name: `threshold`, `pause`, `resume`, `statistics`, … stream: None: all of it.
    arguments: the JSON object that came with it."""

    name: str
    stream: str | None
    arguments: Mapping[str, Any] = field(default_factory=dict)


# Carries a command out; returns what to answer. Raises EdgeAdError for one that is refused. Quick; any thread.
OnCommand = Callable[[Command], Mapping[str, Any]]


class Sink(Protocol):
    """A receiver of events. One thread (its courier, `edge_ad.runtime.outbox.courier`) calls all methods.

    name: as shown to the user (never with a password), and its identity in the outbox: the same after a restart.
    window: events that may be handed over before the first of them is confirmed.
    confirm_timeout_s: after so long without a confirmation of the oldest one, all are handed over again, in order.
    wake: set by the courier; the sink calls it, from any thread, when `confirmed` has something to say.
    """

    name: str
    window: int
    confirm_timeout_s: float
    wake: Callable[[], None]

    def introduce(self, device: DeviceInfo, on_command: OnCommand | None) -> None:
        """Who reports, and who carries commands out. Called before `connect`, and again when streams have come."""
        ...

    def connect(self) -> None:
        """Make it ready for events, within a limit; also after each failure. What was handed over before and is not
        confirmed will be handed over again. Raises SinkError."""
        ...

    def send(self, record: Record) -> None:
        """Hand an event, or a score that is kept as events are, over. Raises SinkError when the receiver is gone:
        `connect` comes next."""
        ...

    def confirmed(self) -> list[int]:
        """`seq` of events that, since the last call, are known to have arrived (as far as this receiver can tell).
        Raises SinkError when the receiver is gone."""
        ...

    def show(self, note: Note) -> None:
        """Show a note, where the sink has a place for that. Raises SinkError when the receiver is gone."""
        ...

    def crop(self, crop: Crop) -> None:
        """Pass on a picture, where the sink has a place for that. Raises SinkError when the receiver is gone."""
        ...

    def close(self) -> None:
        """Say goodbye, within a limit, and release what is held. The last call; safe without `connect`."""
        ...


class PlainSink(ABC):
    """The part that sinks without notes, commands and late confirmations have in common: `_write` hands one over.

    Events that `_write` took are confirmed by the next `confirmed`, after `_flush`.
    """

    window = 256
    confirm_timeout_s = 60.0

    def __init__(self, name: str):
        self.name = name
        self.wake: Callable[[], None] = _nothing
        self._written: list[int] = []

    def introduce(self, device: DeviceInfo, on_command: OnCommand | None) -> None:
        """Not used."""

    def connect(self) -> None:
        """Nothing to do; forgets what was not confirmed."""
        self._written.clear()

    def send(self, record: Record) -> None:
        """Write it. Raises SinkError."""
        self._write(record)
        if record.seq is not None:
            self._written.append(record.seq)
        self.wake()

    def confirmed(self) -> list[int]:
        """All that was written since the last call. Raises SinkError."""
        if self._written:
            self._flush()
        done, self._written = self._written, []
        return done

    def show(self, note: Note) -> None:
        """Not written."""

    def crop(self, crop: Crop) -> None:
        """Not written."""

    def close(self) -> None:
        """Nothing is held."""

    @abstractmethod
    def _write(self, record: Record) -> None:
        """Hand over one record. Raises SinkError."""

    def _flush(self) -> None:
        """Make sure of what was written."""


def _nothing() -> None:
    return None
