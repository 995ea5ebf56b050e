"""Events over MQTT 3.1.1. Topics and payloads: docs/events.md."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from edge_ad.errors import SinkError
from edge_ad.runtime.events import Event, Record, Score, State
from edge_ad.runtime.notes import Availability, Crop, Health, Note
from edge_ad.runtime.sinks.base import DeviceInfo, OnCommand
from edge_ad.runtime.sinks.mqtt import discovery
from edge_ad.runtime.sinks.mqtt.commands import Commands
from edge_ad.runtime.sinks.mqtt.connection import Connection, tls_context
from edge_ad.runtime.sinks.mqtt.options import Address, read_address

log = logging.getLogger(__name__)

_WINDOW = 100
_SHORT_S = 5.0  # a connection that is lost sooner was taken over rather than broken
_MAX_ACK_BYTES = 65536


class MqttSink:
    """One device at one broker.

    `available` is set to `online` only once the states of all streams were shown, when the courier first asks for
    confirmations or hands over an event: who sees `online` finds states that are of now.
    """

    def __init__(self, address: Address):
        """Raises SinkError for certificates that cannot be loaded; the broker is not contacted yet."""
        self.name = address.name
        self.window = address.options.ack_window if address.options.ack else _WINDOW
        self.confirm_timeout_s = address.options.ack_timeout_s if address.options.ack else 60.0
        self.wake: Callable[[], None] = lambda: None
        self._address = address
        self._options = address.options
        self._root = f"edge-ad/{address.node}"
        self._tls = tls_context(address)
        self._device: DeviceInfo | None = None
        self._commands: Commands | None = None
        self._connection: Connection | None = None
        self._online = False
        self._guard = threading.Lock()
        self._sent: dict[int, str] = {}  # seq: event_id, of events that a consumer has to acknowledge
        self._acknowledged: deque[int] = deque()
        self._ignored = 0  # acknowledgements that fit nothing
        self._score_due: dict[str, float] = {}
        self._short_connections = 0

    def introduce(self, device: DeviceInfo, on_command: OnCommand | None) -> None:
        """Who is shown to others, and who carries commands out."""
        self._device = device
        self._commands = None if on_command is None else self._commands or Commands(on_command)
        if self._connection is not None:
            self._announce(self._connection)

    def connect(self) -> None:
        """Connect and log in, within the limit. Raises SinkError."""
        self._drop()
        topics = [f"{self._root}/+/event/ack"] if self._options.ack else []
        if self._commands is not None:
            topics += [f"{self._root}/cmd/+", f"{self._root}/+/cmd/+"]
        with self._guard:
            self._sent.clear()
            self._acknowledged.clear()
        self._connection = Connection(
            self._address, self._tls, will=f"{self._root}/available", topics=topics, on_message=self._take,
            on_change=lambda: self.wake(),
        )  # fmt: skip
        self._online = False
        self._announce(self._connection)

    def send(self, record: Record) -> None:
        """Publish with QoS 1, not retained. Raises SinkError when the connection is lost."""
        connection = self._ready()
        kind = "event" if isinstance(record, Event) else "score"
        by_consumer = self._options.ack and isinstance(record, Event)
        if by_consumer and isinstance(record, Event):
            with self._guard:
                self._sent[record.seq] = record.event_id
        connection.publish(
            f"{self._root}/{record.stream}/{kind}",
            record.to_json(),
            qos=1,
            seq=None if by_consumer else record.seq,
        )

    def confirmed(self) -> list[int]:
        """What the broker, or with `ack` a consumer, has acknowledged. Raises SinkError when the connection is lost."""
        connection = self._ready()
        with self._guard:
            by_consumer = list(self._acknowledged)
            self._acknowledged.clear()
        return [*connection.published(), *by_consumer]

    def show(self, note: Note) -> None:
        """Publish a note; of scores, one every so often. Raises SinkError when the connection is lost."""
        connection = self._require()
        base = f"{self._root}/{note.stream}"
        if isinstance(note, State):
            connection.publish(f"{base}/state", note.to_json(), qos=1, retain=True)
        elif isinstance(note, Availability):
            connection.publish(
                f"{base}/available", "online" if note.online else "offline", qos=1, retain=True
            )
        elif isinstance(note, Health):
            connection.publish(f"{base}/health", note.to_json(), retain=True)
        elif self._options.scores and self._is_due(note):
            connection.publish(f"{base}/score", note.to_json())

    def crop(self, crop: Crop) -> None:
        """Publish a picture, where pictures are wanted. Raises SinkError when the connection is lost."""
        if self._options.crops:
            self._require().publish(f"{self._root}/{crop.stream}/crop/{crop.event_id}", crop.jpeg)

    def close(self) -> None:
        """Publish `stopped` and disconnect, within a second."""
        if self._connection is not None:
            streams = () if self._device is None else self._device.streams
            topics = [f"{self._root}/{stream.name}/available" for stream in streams]
            self._connection.close([*topics, f"{self._root}/available"])
            self._connection = None

    def _announce(self, connection: Connection) -> None:
        """Tell Home Assistant what there is, where that is wanted."""
        if self._options.discovery is not None and self._device is not None:
            where = discovery.topic(self._options.discovery, self._address.node)
            connection.publish(
                where, discovery.message(replace(self._device, node=self._address.node)), qos=1, retain=True
            )

    def _require(self) -> Connection:
        if self._connection is None:
            raise SinkError("is not connected", where=self.name)
        try:
            self._connection.check()
        except SinkError as error:
            self._count_short(self._connection)
            raise SinkError(error.what + self._rival(), where=self.name) from error
        return self._connection

    def _ready(self) -> Connection:
        """The connection, with `online` published behind the states."""
        connection = self._require()
        if not self._online:
            connection.publish(f"{self._root}/available", "online", qos=1, retain=True)
            self._online = True
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _count_short(self, connection: Connection) -> None:
        short = time.monotonic() - connection.opened_at < _SHORT_S
        self._short_connections = self._short_connections + 1 if short else 0

    def _rival(self) -> str:
        if self._short_connections < 3:
            return ""
        return f"; is another edge-ad running as node '{self._address.node}'?"

    def _is_due(self, score: Score) -> bool:
        now = time.monotonic()
        if now < self._score_due.get(score.stream, 0.0):
            return False
        self._score_due[score.stream] = now + self._options.score_interval_s
        return True

    def _take(self, topic: str, payload: bytes, retained: bool) -> None:
        """A message, in paho's thread."""
        levels = topic.removeprefix(f"{self._root}/").split("/")
        if levels[-2:] == ["event", "ack"]:
            self._take_ack(payload)
        elif (
            self._commands is not None and not retained
        ):  # a retained command would act anew at every connection
            answer = self._commands.answer(levels, payload)
            connection = self._connection
            if connection is not None and connection.lost is None:
                connection.publish(f"{topic}/ack", answer, qos=1)

    def _take_ack(self, payload: bytes) -> None:
        try:
            seqs, event_id = _parse_ack(payload)
        except ValueError as error:
            seqs, event_id = [], None
            log.debug("%s: an acknowledgement that is none: %s", self.name, error)
        with self._guard:
            for seq in seqs:
                sent = self._sent.get(seq)
                if sent is None or event_id not in (None, sent):
                    self._ignored += 1
                    continue
                del self._sent[seq]
                self._acknowledged.append(seq)
        self.wake()


def _parse_ack(payload: bytes) -> tuple[list[int], str | None]:
    """`{"seq": 17, "event_id": "…"}` or `{"seq": [17, 18]}`. Raises ValueError for anything else."""
    if len(payload) > _MAX_ACK_BYTES:
        raise ValueError("is too long")
    try:
        data = json.loads(payload)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    seq = data.get("seq") if isinstance(data, dict) else None
    seqs: list[Any] = seq if isinstance(seq, list) else [seq]
    if not isinstance(data, dict) or not all(type(item) is int for item in seqs):
        raise ValueError("has no 'seq'")
    return seqs, data.get("event_id")


def open_mqtt(url: str, *, node: str, options: Mapping[str, Any] | None = None) -> MqttSink:
    """A sink for `mqtt://[user:password@]host[:port][/node][?option=value]` or `mqtts://…`. Raises SinkError."""
    return MqttSink(read_address(url, node=node, keys=options))
