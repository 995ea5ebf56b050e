"""Couriers: one thread a sink brings it what waits in the outbox, in order, until the sink has confirmed it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge_ad.errors import EdgeAdError
from edge_ad.runtime.events import Score
from edge_ad.runtime.notes import Crop, Note
from edge_ad.runtime.outbox.queue import Outbox
from edge_ad.runtime.sinks.base import DeviceInfo, OnCommand, Sink

log = logging.getLogger(__name__)

BACKOFF_S = (0.5, 30.0)
MAX_CROPS = 16  # pictures that wait; they are not kept in the outbox
_CHECK_S = 1.0  # how often a connection is looked at when nothing happens


@dataclass(frozen=True)
class SinkReport:
    """How a sink did. delivered: records that it confirmed. waiting: that it did not, at the end; lost: those of them
    that no restart will bring, because the outbox was in memory. failures: attempts that failed. error: the last one's
    text. connected: whether it works now. stuck: it did not come back from a call in time and was left behind."""

    name: str
    delivered: int
    waiting: int
    lost: int
    failures: int
    error: str | None
    connected: bool
    stuck: bool


class Courier:
    """Drives one sink. Its thread begins with the first `start` and ends with `close`."""

    def __init__(self, sink: Sink, outbox: Outbox, *, backoff_s: tuple[float, float] = BACKOFF_S):
        """backoff_s: first and longest pause after a failure."""
        self.sink = sink
        self._outbox = outbox
        self._backoff_s = backoff_s
        self._changed = threading.Condition()
        self._woken = False
        self._deadline: float | None = None  # set once closing
        self._notes: dict[tuple[type[Note], str], Note] = {}  # to be shown
        self._shown: dict[tuple[type[Note], str], Note] = {}  # to be shown again after each connection
        self._crops: deque[Crop] = deque(maxlen=MAX_CROPS)
        self._in_flight: dict[int, float] = {}  # seq: when it was handed over, oldest first
        self._cursor = 0
        self._historical_to = 0
        self._delivered = self._failures = 0
        self._error: str | None = None
        self._device: DeviceInfo | None = None  # to be introduced
        self.on_command: OnCommand | None = None
        self._connected = self._failing = False
        sink.wake = self._wake
        outbox.on_commit(self._wake)
        self._thread = threading.Thread(target=self._run, name=f"sink {sink.name}", daemon=True)

    def connect(self) -> None:
        """Connect before the thread begins, so that a sink that does not work is known at once. Raises SinkError."""
        self._connect()

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def introduce(self, device: DeviceInfo) -> None:
        """Have the sink know of streams that have come."""
        with self._changed:
            self._device = device
        self._wake()

    def note(self, note: Note) -> None:
        """Have a note shown; one of its kind and stream that was not shown yet is given up for it."""
        with self._changed:
            self._notes[type(note), note.stream] = note
        self._wake()

    def crop(self, crop: Crop) -> None:
        """Have a picture passed on; the oldest one that waits is given up when there are too many."""
        with self._changed:
            self._crops.append(crop)
        self._wake()

    def finish(self, deadline: float) -> None:
        """Deliver what can be delivered until then (`time.monotonic`), close the sink, end the thread."""
        with self._changed:
            self._deadline = deadline
        self._wake()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def report(self) -> SinkReport:
        """How it did so far."""
        waiting = self._outbox.backlog(self.sink.name)
        with self._changed:
            return SinkReport(
                name=self.sink.name,
                delivered=self._delivered,
                waiting=waiting,
                lost=0 if self._outbox.durable else waiting,
                failures=self._failures,
                error=self._error,
                connected=self._connected,
                stuck=self._deadline is not None and self._thread.is_alive(),
            )

    def _wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def _run(self) -> None:
        pause_s = self._backoff_s[0]
        while not self._over():
            if self._connected or self._attempt(self._connect):
                if self._attempt(self._deliver):
                    pause_s = self._backoff_s[0]
                    self._rest()
                    continue
                self._connected = False
            with self._changed:
                self._changed.wait_for(lambda: self._deadline is not None, pause_s)
                if self._deadline is not None:  # one more try, soon
                    self._changed.wait(min(self._backoff_s[0], max(0.0, self._deadline - time.monotonic())))
            pause_s = min(2 * pause_s, self._backoff_s[1])
        self._attempt(self.sink.close)

    def _over(self) -> bool:
        with self._changed:
            if self._deadline is None:
                return False
            if time.monotonic() >= self._deadline:
                return True
            busy = bool(self._notes or self._crops or self._in_flight)
        return not busy and self._connected and self._outbox.backlog(self.sink.name) == 0

    def _rest(self) -> None:
        """Wait until something happens."""
        with self._changed:
            limit = _CHECK_S
            if self._in_flight:
                oldest = next(iter(self._in_flight.values()))
                limit = min(limit, max(0.0, oldest + self.sink.confirm_timeout_s - time.monotonic()))
            if self._deadline is not None:
                limit = min(limit, 0.05)
            self._changed.wait_for(lambda: self._woken, limit)
            self._woken = False

    def _connect(self) -> None:
        self._in_flight.clear()
        self._cursor = 0
        self.sink.connect()
        self._connected = True
        # What was made before this moment comes late.
        self._historical_to = self._outbox.committed_seq
        with self._changed:
            self._notes = {**self._shown, **self._notes}

    def _deliver(self) -> None:
        """Hand over what there is, as far as the window allows. Raises SinkError."""
        while True:
            self._take_confirmations()
            self._show_notes()
            room = self.sink.window - len(self._in_flight)
            records = self._outbox.read(self.sink.name, after=self._cursor, limit=room) if room > 0 else []
            for record in records:
                if record.seq is None:
                    continue
                late = record.seq <= self._historical_to
                self._in_flight[record.seq] = time.monotonic()
                self.sink.send(record.model_copy(update={"historical": True}) if late else record)
                self._cursor = record.seq
            if not records:
                return

    def _take_confirmations(self) -> None:
        confirmed = [seq for seq in self.sink.confirmed() if self._in_flight.pop(seq, None) is not None]
        if confirmed:
            self._outbox.confirm(self.sink.name, confirmed)
            with self._changed:
                self._delivered += len(confirmed)
        if not self._in_flight:
            return
        oldest, since = next(iter(self._in_flight.items()))
        if time.monotonic() - since > self.sink.confirm_timeout_s:
            log.warning("%s: record %d was not confirmed in time; sent again", self.sink.name, oldest)
            self._historical_to = max(self._historical_to, self._cursor)
            self._cursor = oldest - 1
            self._in_flight.clear()

    def _show_notes(self) -> None:
        with self._changed:
            notes, self._notes = self._notes, {}
            crops = list(self._crops)
            self._crops.clear()
            device, self._device = self._device, None
        if device is not None:
            self.sink.introduce(device, self.on_command)
        for key, note in notes.items():
            if not isinstance(note, Score):
                self._shown[key] = note
            self.sink.show(note)
        for crop in crops:
            self.sink.crop(crop)

    def _attempt(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except Exception as error:  # also a fault in the sink itself: the others go on
            text = str(error) if isinstance(error, EdgeAdError) else f"{self.sink.name}: {error!r}"
            with self._changed:
                self._failures += 1
                self._error = text
            if not self._failing:
                self._failing = True
                log.warning("%s; trying on", text)
            return False
        if self._failing and self._connected:
            self._failing = False
            log.info("%s: works again", self.sink.name)
        return True
