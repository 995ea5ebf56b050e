"""What a bridge knows of the device behind one port: what it has said already, under which names it is published."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edge_ad.errors import DataError
from edge_ad.runtime.events import TOPIC_ID, Event, topic_id

MAX_STREAMS = 64  # of one port: a device that makes up names must not fill the memory
_MAX_BOOTS = 16  # runs of a device of which repetitions are known
_ALL_BOOTS = 4096
_LONGEST_NAME = 64


class Registry:
    """What all ports have in common: which of them publishes under which name, and what has been said already.

    A name belongs to the port that had it first, over restarts too. A device that is plugged in elsewhere is known by
    the `boot_id` of its records.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._owners: dict[str, str] = {}
        self._seen: dict[str, int] = {}

    def add(self, origin: Origin) -> None:
        """Know of what an origin remembers of earlier runs."""
        with self._guard:
            self._owners.update((name, origin.port) for name in origin.published.values())
            for boot, seq in origin.seen.items():
                self._seen[boot] = max(seq, self._seen.get(boot, 0))

    def highest(self, boot: str) -> int | None:
        """The highest number that was taken of this run of a device."""
        return self._seen.get(boot)

    def took(self, boot: str, seq: int) -> None:
        """This number was taken."""
        with self._guard:
            self._seen.pop(boot, None)
            self._seen[boot] = seq
            if len(self._seen) > _ALL_BOOTS:
                del self._seen[next(iter(self._seen))]

    def claim(self, stream: str, port: str, label: str | None) -> str:
        """The name for a stream of a port. label: put before it; None: only where another port has the name."""
        with self._guard:
            plain = [] if label is not None else [stream]
            short = label if label is not None else topic_id(port.rsplit("/", 1)[-1])
            for name in (*plain, _joined(short, stream), _joined(topic_id(port), stream)):
                if self._owners.setdefault(name, port) == port:
                    return name
        raise DataError(f"no name is left for the stream '{stream}'")


def _joined(label: str, stream: str) -> str:
    name = f"{label}.{stream}"[-_LONGEST_NAME:].lstrip("._-")
    return name if re.fullmatch(TOPIC_ID, name) else topic_id(name)


@dataclass
class Origin:
    """One port. seen: by run of the device, the highest `seq` that was taken. published: the name of each of its
    streams; last: the last event under each name. missing: numbers that were passed over; duplicates: what came again;
    rejected: frames or lines that came damaged, or that were no events. last_number: ours, of its last record.
    """

    port: str
    label: str | None
    registry: Registry
    seen: OrderedDict[str, int] = field(default_factory=OrderedDict)
    published: dict[str, str] = field(default_factory=dict)
    last: dict[str, Event] = field(default_factory=dict)
    events: int = 0
    missing: int = 0
    duplicates: int = 0
    rejected: int = 0
    last_number: int = 0

    def take(self, event: Event) -> list[Event]:
        """The records to pass on for an event, under the name that it is published under: none for one that was taken
        before; also the end of one that the device has forgotten. Raises DataError for more streams than a device
        has."""
        highest = self.registry.highest(event.boot_id)
        if highest is not None and event.seq <= highest:
            self.duplicates += 1
            return []
        name = self._name(event.stream)
        if highest is not None:
            self.missing += event.seq - highest - 1
        self.registry.took(event.boot_id, event.seq)
        self.seen[event.boot_id] = event.seq
        self.seen.move_to_end(event.boot_id)
        while len(self.seen) > _MAX_BOOTS:
            self.seen.popitem(last=False)
        event = event.model_copy(update={"stream": name})
        before = self.last.get(name)
        forgotten = before is not None and before.kind != "end" and before.event_id != event.event_id
        ends = [_ended(before, event.ts)] if forgotten and before is not None else []
        self.last[name] = event
        self.events += 1
        return [*ends, event]

    def restarted(self, now: datetime) -> list[Event]:
        """The device has started anew, and remembers nothing: ends of the events that it left open."""
        ends = []
        for name, event in self.last.items():
            if event.kind != "end":
                self.last[name] = _ended(event, now)
                ends.append(self.last[name])
        return ends

    def as_dict(self) -> dict[str, Any]:
        """What is kept over a restart of the bridge, as plain values."""
        return {
            "port": self.port,
            "seen": list(self.seen.items()),
            "published": self.published,
            "last": {name: event.to_json() for name, event in self.last.items()},
        }

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Go on from what was kept."""
        self.seen = OrderedDict((str(boot), int(seq)) for boot, seq in kept["seen"])
        self.published = dict(kept["published"])
        self.last = {name: Event.model_validate_json(text) for name, text in kept["last"].items()}
        self.registry.add(self)

    def _name(self, stream: str) -> str:
        if stream not in self.published:
            if len(self.published) >= MAX_STREAMS:
                raise DataError(f"says that it has more than {MAX_STREAMS} streams", where=self.port)
            self.published[stream] = self.registry.claim(stream, self.port, self.label)
        return self.published[stream]


def _ended(event: Event, ts: datetime) -> Event:
    """The end of an event that its device will not tell: as it was last, at the time when that became known."""
    return event.model_copy(update={"kind": "end", "ts": ts, "historical": False})
