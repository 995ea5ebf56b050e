"""Rows from an MQTT topic: one connection, one attempt; who opened it opens the next."""

from __future__ import annotations

import json
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edge_ad.errors import DataError, SourceError
from edge_ad.runtime.sources.rows.live import UNREADABLE, Piece
from edge_ad.runtime.sources.rows.options import MqttOptions
from edge_ad.runtime.sources.rows.reading import Waiter
from edge_ad.runtime.sources.rows.text import Gathering, RowParser

KEEPALIVE_S = 30
CONNECT_S = 5.0
_LOOK_S = 1.0  # at most between two looks at whether the broker has to be told that we live


class MqttRows:
    """The rows of a topic's messages: a JSON object, a list of them, or lines of CSV.

    The network is read by whoever iterates; what the broker sends meanwhile waits in the connection.
    """

    def __init__(self, client: Client, topic: str, parser: RowParser, *, where: str, stall_s: float):
        """client: connected to the broker, which has not answered yet. Raises SourceError when it refuses."""
        self.unreadable = 0
        self._client = client
        self._parser = parser
        self._gathering = Gathering(parser)
        self._where = where
        self._stall_s = stall_s
        self._waiter = Waiter()
        self._in_use = threading.Lock()
        self._released = False
        self._messages = 0
        self._connected = self._subscribed = False
        self._refusal: str | None = None
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        try:
            self._await(lambda: self._connected, "the broker does not answer the login")
            client.subscribe(topic, qos=1)
            self._await(lambda: self._subscribed, "the broker does not answer the subscription")
        except SourceError:
            self.close()
            raise

    def __iter__(self) -> Iterator[Piece]:
        deadline = time.monotonic() + self._stall_s
        while self._step(deadline):
            if pieces := self._gathering.take(time.time()):
                deadline = time.monotonic() + self._stall_s
                yield from pieces
            elif time.monotonic() >= deadline:
                bad = f", {self.unreadable} messages were none" if self.unreadable else ""
                raise SourceError(
                    f"no row for {self._stall_s:g} s{bad}", where=self._where,
                    hint="check the topic and who publishes there",
                )  # fmt: skip

    def close(self) -> None:
        """Leave the broker, from any thread; the iteration ends at once."""
        if not self._released:
            self._waiter.wake()
        with self._in_use:
            if not self._released:
                self._released = True
                self._client.disconnect()
                self._waiter.close()

    def _await(self, done: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + CONNECT_S
        while not done():
            if time.monotonic() >= deadline or not self._step(deadline):
                raise SourceError(f"{otherwise} within {CONNECT_S:g} s", where=self._where)
            if self._refusal is not None:
                raise SourceError(
                    self._refusal, where=self._where,
                    hint="check user, password and what they may read: mqtt://user:password@host/topic",
                )  # fmt: skip

    def _step(self, deadline: float) -> bool:
        """Wait for the network and do what is due; False once closed. Raises SourceError when the broker is gone."""
        with self._in_use:
            return not self._waiter.woken and self._exchange(deadline)

    def _exchange(self, deadline: float) -> bool:
        connection = self._client.socket()
        if connection is None:
            raise self._lost("it closed the connection")
        pending = getattr(connection, "pending", None)  # what TLS has taken from the network already
        if not (pending and pending()):
            wait_s = min(deadline - time.monotonic(), _LOOK_S)
            if not self._waiter.wait(connection.fileno(), wait_s):
                if self._waiter.woken:
                    return False
                return self._checked(self._client.loop_misc())
        return self._checked(self._client.loop_read()) and (
            not self._client.want_write() or self._checked(self._client.loop_write())
        )

    def _checked(self, code: MQTTErrorCode) -> bool:
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS and self._refusal is None:
            raise self._lost(code.name.removeprefix("MQTT_ERR_").lower().replace("_", " "))
        return True

    def _lost(self, why: str) -> SourceError:
        return SourceError(
            f"the connection to the broker was lost ({why})", where=self._where,
            hint="check the broker and the network",
        )  # fmt: skip

    def _on_connect(self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refusal = f"the broker refused the login ({reason})"
        self._connected = True

    def _on_subscribe(self, client: Client, userdata: Any, mid: int, reasons: Any, properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self._refusal = "the broker refused the subscription"
        self._subscribed = True

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        if message.retain:  # kept from before we subscribed: it may be of any age
            return
        self._messages += 1
        try:
            for values, stamp in self._rows(message.payload.decode()):
                self._gathering.add_row(values, stamp, self._messages)
        except (DataError, UnicodeDecodeError):
            self.unreadable += 1
            self._gathering.miss(UNREADABLE)

    def _rows(self, text: str) -> list[tuple[list[float], float | None]]:
        """All rows of a message. Raises DataError when one of them is none."""
        if not text.lstrip().startswith("["):
            found = [self._parser.parse(line, self._messages) for line in text.splitlines()]
            return [row for row in found if row is not None]
        try:
            objects = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"message {self._messages}: is no JSON ({error})", where=self._where) from error
        if not all(isinstance(row, dict) for row in objects):
            raise DataError(f"message {self._messages}: is no list of JSON objects", where=self._where)
        return [self._parser.parse_object(row, self._messages) for row in objects]


def open_mqtt(
    host: str, port: int, topic: str, channels: Sequence[str] | None, n: int,
    options: MqttOptions | None = None, *, password: str | None = None, tls: bool = False, stall_s: float,
) -> MqttRows:  # fmt: skip
    """Rows of an MQTT topic, of the `n` channels of these names (None: any).

    stall_s: longest time without a row. Raises SourceError when there is no such broker, when it refuses, and for a
    topic with wildcards: rows of several devices make no series.
    """
    options = options or MqttOptions()
    where = f"{'mqtts' if tls else 'mqtt'}://{host}:{port}/{topic}"
    if not topic or "#" in topic or "+" in topic:
        raise SourceError("is no single topic", where=where, hint="name one without wildcards")
    parser = RowParser(channels, n, where=where, format=options.format, columns=options.columns)
    name = options.client_id or f"edge-ad-{socket.gethostname()}-{secrets.token_hex(4)}-source"
    client = Client(
        CallbackAPIVersion.VERSION2, client_id=name, clean_session=True, reconnect_on_failure=False
    )
    client.connect_timeout = min(stall_s, CONNECT_S)
    if options.username is not None:
        client.username_pw_set(options.username, _password(options, where) if password is None else password)
    if tls:
        try:
            client.tls_set(ca_certs=options.ca, certfile=options.cert, keyfile=options.key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise SourceError(f"the certificates cannot be loaded ({error})", where=where) from error
    try:
        client.connect(host, port, keepalive=KEEPALIVE_S)
    except ssl.SSLCertVerificationError as error:
        raise SourceError(
            f"the broker's certificate is not trusted ({error.verify_message})", where=where,
            hint="give the certificate of its authority: mqtts://…?ca=FILE",
        ) from error  # fmt: skip
    except (OSError, ValueError) as error:
        raise SourceError(
            f"no broker can be reached ({error})", where=where, hint="check host, port and network"
        ) from error
    return MqttRows(client, topic, parser, where=where, stall_s=stall_s)


def _password(options: MqttOptions, where: str) -> str | None:
    if options.password_file is None:
        return None
    try:
        return (Path(options.password_file).read_text().splitlines() or [""])[0]
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the password cannot be read ({error})", where=where) from error
