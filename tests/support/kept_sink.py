"""Sinks that keep what they get, and that fail as they are told."""

from __future__ import annotations

from edge_ad.errors import SinkError
from edge_ad.runtime.events import Event, Record, Score, State
from edge_ad.runtime.notes import Availability, Crop, Health, Note
from edge_ad.runtime.sinks.base import PlainSink


class Kept(PlainSink):
    """Keeps everything; confirms what it was given at once."""

    def __init__(self, name: str = "kept") -> None:
        super().__init__(name)
        self.records: list[Record] = []
        self.notes: list[Note] = []
        self.crops: list[Crop] = []
        self.connections = 0
        self.closed = False

    @property
    def events(self) -> list[Event]:
        return [record for record in self.records if isinstance(record, Event)]

    @property
    def states(self) -> list[State]:
        return [note for note in self.notes if isinstance(note, State)]

    @property
    def scores(self) -> list[Score]:
        return [note for note in self.notes if isinstance(note, Score)]

    @property
    def availability(self) -> list[Availability]:
        return [note for note in self.notes if isinstance(note, Availability)]

    @property
    def health(self) -> list[Health]:
        return [note for note in self.notes if isinstance(note, Health)]

    def connect(self) -> None:
        super().connect()
        self.connections += 1

    def show(self, note: Note) -> None:
        self.notes.append(note)

    def crop(self, crop: Crop) -> None:
        self.crops.append(crop)

    def close(self) -> None:
        self.closed = True

    def _write(self, record: Record) -> None:
        self.records.append(record)


class Failing(Kept):
    """Refuses while `broken` is set: to connect, to take, to confirm."""

    broken = False

    def connect(self) -> None:
        self._fail()
        super().connect()

    def confirmed(self) -> list[int]:
        self._fail()
        return super().confirmed()

    def _write(self, record: Record) -> None:
        self._fail()
        super()._write(record)

    def _fail(self) -> None:
        if self.broken:
            raise SinkError("is broken", where=self.name)
