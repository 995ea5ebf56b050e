"""One port: opened, listened to, and opened again when its plug was pulled."""

from __future__ import annotations

import logging
import termios
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import serial

from edge_ad.errors import DataError, SourceError
from edge_ad.firmware_bridge.frames import SEQ_MODULUS, Frame, FrameType, encode, event_ack_payload
from edge_ad.runtime.bridge.origin import Origin
from edge_ad.runtime.bridge.wire import Kind, Said, Wire, WireFormat, read_event
from edge_ad.runtime.events import Event, State
from edge_ad.runtime.notes import Availability, Health, Note
from edge_ad.runtime.operations.snapshot import StreamView
from edge_ad.runtime.outbox.queue import Outbox
from edge_ad.runtime.sources.rows.lines import open_reader
from edge_ad.runtime.sources.rows.reading import PortReader

log = logging.getLogger(__name__)

BACKOFF_S = (0.5, 30.0)
PREFIX = "port "  # of its state in the outbox
_LISTEN_S = 1.0
_COMMIT_S = 0.01  # how soon it is looked at again whether what was taken is committed


@dataclass(frozen=True)
class PortReport:
    """How a port did. rejected: frames or lines that came damaged, or that were no events."""

    port: str
    connected: bool
    events: int
    duplicates: int
    missing: int
    rejected: int
    streams: tuple[str, ...]


@dataclass(frozen=True)
class _Snapshot:
    """The state of an origin, as it was when records were handed over."""

    values: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return self.values


class Carrier:
    """Takes what the device behind one port says. An event is acknowledged once it is committed."""

    def __init__(
        self, origin: Origin, outbox: Outbox, *, baud: int, format: WireFormat, note: Callable[[Note], None],
        on_streams: Callable[[], None], backoff_s: tuple[float, float] = BACKOFF_S,
    ):  # fmt: skip
        """note: shows a note. on_streams: called when a stream has got a name."""
        self.origin = origin
        self._outbox = outbox
        self._baud = baud
        self._format = format
        self._note = note
        self._on_streams = on_streams
        self.alive_at = time.monotonic()  # when it last got on
        self._backoff_s = backoff_s
        self._stop = threading.Event()
        self._reader: PortReader | None = None
        self._wire = Wire(format)
        self._failing = self._told_online = False
        self._unacknowledged: deque[tuple[int, int]] = deque()  # our number, the device's
        self._frame_seq = 0
        self._thread = threading.Thread(target=self._run, name=f"port {origin.port}", daemon=True)

    @property
    def port(self) -> str:
        """As it is opened."""
        return self.origin.port

    def start(self) -> None:
        """Begin to listen."""
        self.show_all()
        self._thread.start()

    def stop(self) -> None:
        """Give the port back, from any thread."""
        self._stop.set()
        reader = self._reader
        if reader is not None:
            reader.close()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread."""
        self._thread.join(timeout_s)

    def report(self) -> PortReport:
        """How it did so far."""
        origin = self.origin
        return PortReport(
            self.port, self._told_online, origin.events, origin.duplicates, origin.missing, self._n_rejected,
            tuple(origin.last),
        )  # fmt: skip

    def show_all(self) -> None:
        """Have the sinks show how each stream of this port is."""
        for name in list(self.origin.last):
            self._show_availability(name, "" if self._told_online else "the port is not open")
            self._show_state(self.origin.last[name])
            self.show_health(name)

    def show_health(self, name: str) -> Health:
        """Have the sinks show how a stream fares."""
        health = self.health(name)
        self._note(health)
        return health

    def health(self, name: str) -> Health:
        """How a stream fares; the counts are those of its whole port."""
        return Health(
            ts=datetime.now(timezone.utc), stream=name, online=self._told_online, events=self.origin.events,
            dropped=0, unreadable=self._n_rejected, gaps=self.origin.missing,
        )  # fmt: skip

    def views(self) -> list[StreamView]:
        """Its streams, for who watches the device."""
        return [
            StreamView(self.health(name), event.bundle, event.threshold, event.score)
            for name, event in list(self.origin.last.items())
        ]

    @property
    def _n_rejected(self) -> int:
        return self.origin.rejected + self._wire.rejected

    def _run(self) -> None:
        pause_s = self._backoff_s[0]
        while not self._stop.is_set():
            self.alive_at = time.monotonic()
            try:
                self._listen()
                pause_s = self._backoff_s[0]
            except SourceError as error:
                if self._told_online:  # it did work
                    pause_s = self._backoff_s[0]
                self._went(error)
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, self._backoff_s[1])
        self._told_online = False

    def _listen(self) -> None:
        """Until the port is closed. Raises SourceError when it cannot be opened or was cut."""
        reader = self._reader = open_reader(self.port, self._baud, self.port, fresh=False)
        try:
            if self._stop.is_set():
                return
            self._came()
            while (data := reader.read(_COMMIT_S if self._unacknowledged else _LISTEN_S)) is not None:
                self.alive_at = time.monotonic()
                for said in self._wire.feed(data):
                    self._take(said)
                self._acknowledge(reader.port)
        finally:
            reader.close()
            self._reader = None
            self.origin.rejected += self._wire.rejected
            self._wire = Wire(self._format)
            self._unacknowledged.clear()  # who was not told says it again

    def _take(self, said: Said) -> None:
        if said.kind is Kind.LOG:
            log.info("%s", said.body.decode("utf-8", "replace").strip(), extra={"port": self.port})
        elif said.kind is Kind.BOOT:
            log.warning("the board has started", extra={"port": self.port})
            self._pass_on(self.origin.restarted(datetime.now(timezone.utc)))
        else:
            self._take_event(said)

    def _take_event(self, said: Said) -> None:
        known = len(self.origin.published)
        try:
            event = read_event(said.body, datetime.now(timezone.utc))
            records = self.origin.take(event)
        except DataError as error:
            self.origin.rejected += 1
            log.warning("%s", error, extra={"port": self.port})
            return
        self._pass_on(records)
        if said.acknowledge:
            self._unacknowledged.append((self.origin.last_number, event.seq))
        if len(self.origin.published) > known:
            name = self.origin.published[event.stream]
            log.info("stream '%s' is published as '%s'", event.stream, name, extra={"port": self.port})
            self._on_streams()
            self._show_availability(name, "")

    def _pass_on(self, events: list[Event]) -> None:
        if not events:
            return
        state = _Snapshot(self.origin.as_dict())
        numbered = self._outbox.append(list(events), stream=PREFIX + self.port, state=state)
        self.origin.last_number = numbered[-1].seq or 0
        for event in events:
            self._show_state(event)

    def _acknowledge(self, port: Any) -> None:
        """Tell the device what is committed. Raises SourceError when the line was cut."""
        while self._unacknowledged and self._unacknowledged[0][0] <= self._outbox.committed_seq:
            seq = self._unacknowledged.popleft()[1]
            self._frame_seq = (self._frame_seq + 1) % SEQ_MODULUS
            try:
                port.write(encode(Frame(FrameType.EVENT_ACK, self._frame_seq, event_ack_payload(seq))))
            except serial.SerialTimeoutException:  # it takes nothing: it will ask again
                with suppress(serial.SerialException, OSError, termios.error):
                    port.reset_output_buffer()
                return
            except (serial.SerialException, OSError) as error:
                raise SourceError(f"the line was cut ({error})", where=self.port) from error

    def _came(self) -> None:
        log.info("works again" if self._failing else "listening", extra={"port": self.port})
        self._failing = False
        self._tell(True, "")

    def _went(self, error: SourceError) -> None:
        if self._stop.is_set():
            return
        if not self._failing:
            log.warning("%s; trying on", error, extra={"port": self.port})
        self._failing = True
        self._tell(False, error.what)

    def _tell(self, online: bool, reason: str) -> None:
        if online == self._told_online:
            return
        self._told_online = online
        for name in list(self.origin.last):
            self._show_availability(name, reason)

    def _show_availability(self, name: str, reason: str) -> None:
        now = datetime.now(timezone.utc)
        self._note(Availability(ts=now, stream=name, online=self._told_online, reason=reason))

    def _show_state(self, event: Event) -> None:
        is_open = event.kind != "end"
        self._note(
            State(
                ts=event.ts, stream=event.stream, anomalous=is_open and event.verdict == "anomalous",
                verdict=event.verdict if is_open else "normal", score=event.score, threshold=event.threshold,
                band=event.band, bundle=event.bundle, event_id=event.event_id if is_open else None,
            )
        )  # fmt: skip
