"""One connection to a broker, from CONNECT to its end; it never connects again by itself.

Whoever uses it opens a new one after a failure: one owner of reconnection, and nothing of an earlier connection is
sent again behind its back.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from edge_ad.errors import SinkError
from edge_ad.runtime.sinks.mqtt.options import Address

OnMessage = Callable[[str, bytes, bool], None]  # topic, payload, retained


def tls_context(address: Address) -> ssl.SSLContext | None:
    """The certificates that the address names, loaded. Raises SinkError."""
    if not address.tls:
        return None
    options = address.options
    try:
        context = ssl.create_default_context(cafile=None if options.ca is None else str(options.ca))
        if options.cert is not None:
            context.load_cert_chain(str(options.cert), None if options.key is None else str(options.key))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        where = options.cert if options.cert is not None else options.ca
        raise SinkError(
            f"the certificates cannot be loaded ({error})", where=where or address.name
        ) from error
    return context


class Connection:
    """An accepted login, with its subscriptions acknowledged.

    on_change: called, from paho's thread, when a publication was acknowledged or the connection was lost.
    """

    def __init__(
        self, address: Address, tls: ssl.SSLContext | None, *, will: str, topics: Sequence[str],
        on_message: OnMessage, on_change: Callable[[], None],
    ):  # fmt: skip
        """will: topic of the last will, `offline`. topics: to subscribe to, QoS 1. Raises SinkError when there is no
        broker, or it refuses the login, or does not answer in time."""
        self.opened_at = time.monotonic()
        self.lost: str | None = None  # why
        self._address = address
        self._on_change = on_change
        self._guard = threading.Lock()
        self._waiting: dict[int, int | None] = {}  # message id: seq, of what is not acknowledged
        self._early: set[int] = set()  # acknowledged before `publish` returned
        self._published: list[int] = []
        self._answered, self._subscribed = threading.Event(), threading.Event()
        self._refusal: str | None = None
        options = address.options
        client = self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"edge-ad-{address.node}", clean_session=False,
            reconnect_on_failure=False,
        )  # fmt: skip
        client.connect_timeout = options.connect_timeout_s
        client.will_set(will, "offline", qos=1, retain=True)
        client.username_pw_set(options.username, options.password)
        if tls is not None:
            client.tls_set_context(tls)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_publish = self._acknowledged
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = lambda client, data, message: _pass_on(on_message, message)
        self._connect()
        self._log_in(topics)

    def publish(
        self, topic: str, payload: str | bytes, *, qos: int = 0, retain: bool = False, seq: int | None = None
    ) -> None:
        """seq: told by `published` once the broker has it. Raises SinkError when the connection is lost."""
        self.check()
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise SinkError(f"the connection was lost ({info.rc.name})", where=self._address.name)
        with self._guard:
            if info.mid not in self._early:
                self._waiting[info.mid] = seq
                return
            self._early.discard(info.mid)
            if seq is not None:
                self._published.append(seq)

    def published(self) -> list[int]:
        """What the broker has acknowledged since the last call."""
        with self._guard:
            done, self._published = self._published, []
            return done

    def check(self) -> None:
        """Raises SinkError when the connection is lost."""
        if self.lost is not None:
            raise SinkError(f"the connection was lost ({self.lost})", where=self._address.name)

    def close(self, last: Sequence[str] = (), payload: str = "stopped", *, timeout_s: float = 1.0) -> None:
        """Publish `payload`, retained, on the topics `last`, and disconnect."""
        if self.lost is None:
            infos = [self._client.publish(topic, payload, qos=1, retain=True) for topic in last]
            deadline = time.monotonic() + timeout_s
            for info in infos:
                if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
                    info.wait_for_publish(max(0.0, deadline - time.monotonic()))
        self._client.disconnect()
        self._client.loop_stop()

    def _connect(self) -> None:
        address = self._address
        try:
            self._client.connect(address.host, address.port, keepalive=address.options.keepalive_s)
        except ssl.SSLCertVerificationError as error:
            raise SinkError(
                f"the broker's certificate is not trusted ({error.verify_message})", where=address.name,
                hint="give the certificate of its authority: mqtts://…?ca=FILE",
            ) from error  # fmt: skip
        except (OSError, ValueError) as error:
            raise SinkError(
                f"no broker can be reached ({error})", where=address.name, hint="check host, port and network"
            ) from error

    def _log_in(self, topics: Sequence[str]) -> None:
        name, timeout_s = self._address.name, self._address.options.connect_timeout_s
        found = self._client.socket()
        if isinstance(found, socket.socket):  # small packets wait for nothing
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client.loop_start()
        try:
            if not self._answered.wait(timeout_s):
                raise SinkError(f"the broker did not answer within {timeout_s:g} s", where=name)
            if self._refusal is not None:
                raise SinkError(
                    f"the broker refused the login ({self._refusal})", where=name,
                    hint="give user and password: mqtt://user:password@host",
                )  # fmt: skip
            self.check()
            if topics:
                self._client.subscribe([(topic, 1) for topic in topics])
                if not self._subscribed.wait(timeout_s):
                    raise SinkError(f"the broker did not answer within {timeout_s:g} s", where=name)
        except SinkError:
            self._client.disconnect()
            self._client.loop_stop()
            raise

    def _connected(self, client: Client, data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        self._answered.set()

    def _disconnected(
        self, client: Client, data: Any, flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        self.lost = self.lost or str(reason)
        self._answered.set()
        self._subscribed.set()
        self._on_change()

    def _acknowledged(self, client: Client, data: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        with self._guard:
            if mid not in self._waiting:
                self._early.add(mid)
                return
            seq = self._waiting.pop(mid)
            if seq is None:
                return
            self._published.append(seq)
        self._on_change()


def _pass_on(on_message: OnMessage, message: MQTTMessage) -> None:
    on_message(message.topic, bytes(message.payload), message.retain)
