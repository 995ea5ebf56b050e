"""Events over MQTT 3.1.1. Topics and payloads: docs/events.md."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections import deque
from typing import Any

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from edge_ad.errors import SinkError
from edge_ad.runtime.events import Event, Score, State

log = logging.getLogger(__name__)

_RECONNECT_S = (1, 30)  # first pause and longest
_SHORT_S = 5.0  # a connection that is lost sooner was taken over rather than broken


class MqttSink:
    """One connection to a broker. paho's network thread, and nothing else, reconnects it.

    Events go out with QoS 1. While the broker is away they wait in paho's queue of `queue_limit`; when that
    is full, `event` raises. A receiver may see an event twice: event_id with kind and seq tell.
    """

    def __init__(
        self, host: str, port: int, *, node: str, username: str | None = None, password: str | None = None,
        tls: bool = False, ca: str | None = None, keepalive_s: int = 30, connect_timeout_s: float = 5.0,
        ack_timeout_s: float = 4.0, score_interval_s: float = 1.0, queue_limit: int = 1000,
    ):  # fmt: skip
        """Connect and wait until the broker has accepted the login. Raises SinkError.

        ca: file of trusted certificates instead of the system's. keepalive_s: the broker publishes the last
        will 1.5 times this after the last sign of life. ack_timeout_s: how long `close` waits for
        acknowledgements. score_interval_s: scores of a stream are published at most so often.
        """
        self.name = f"{'mqtts' if tls else 'mqtt'}://{host}:{port}/{node}"
        self.lost = 0
        self._root = f"edge-ad/{node}"
        self._node = node
        self._ack_timeout_s = ack_timeout_s
        self._score_interval_s = score_interval_s
        self._unacknowledged: deque[MQTTMessageInfo] = deque()
        self._states: dict[str, State] = {}
        self._score_due: dict[str, float] = {}
        self._answered = threading.Event()
        self._refusal: str | None = None
        self._closing = False
        self._connected_at = 0.0
        self._short_connections = 0
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"edge-ad-{node}", clean_session=False
        )  # fmt: skip
        self._client.connect_timeout = connect_timeout_s
        self._client.max_queued_messages_set(queue_limit)
        self._client.reconnect_delay_set(*_RECONNECT_S)
        self._client.will_set(f"{self._root}/available", "offline", qos=1, retain=True)
        self._client.username_pw_set(username, password)
        if tls:
            self._use_tls(ca)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._connect(host, port, keepalive_s, connect_timeout_s)

    def event(self, event: Event) -> None:
        """Publish with QoS 1, not retained. Raises SinkError when too many wait for the broker."""
        info = self._client.publish(f"{self._root}/{event.stream}/event", event.to_json(), qos=1)
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            raise SinkError("the queue of events that wait for the broker is full", where=self.name)
        # "not connected" is no failure with QoS 1, paho sends it later; but the info object would raise for good
        info.rc = MQTTErrorCode.MQTT_ERR_SUCCESS
        self._unacknowledged.append(info)
        while self._unacknowledged and self._unacknowledged[0].is_published():
            self._unacknowledged.popleft()

    def state(self, state: State) -> None:
        """Publish retained; published again after every reconnection."""
        self._states[state.stream] = state
        if self._client.is_connected():
            self._publish_state(state)

    def score(self, score: Score) -> None:
        """Publish with QoS 0, rate-limited; lost while the broker is away."""
        now = time.monotonic()
        if self._client.is_connected() and now >= self._score_due.get(score.stream, 0.0):
            self._score_due[score.stream] = now + self._score_interval_s
            self._client.publish(f"{self._root}/{score.stream}/score", score.to_json())

    def close(self) -> None:
        """Wait for acknowledgements up to the limit, publish `stopped`, disconnect; count what is `lost`."""
        self._closing = True
        deadline = time.monotonic() + self._ack_timeout_s
        for info in self._unacknowledged:
            info.wait_for_publish(max(0.0, deadline - time.monotonic()))
        if self._client.is_connected():
            stopped = self._client.publish(f"{self._root}/available", "stopped", qos=1, retain=True)
            stopped.rc = MQTTErrorCode.MQTT_ERR_SUCCESS
            stopped.wait_for_publish(max(0.5, deadline - time.monotonic()))
        self.lost = sum(not info.is_published() for info in self._unacknowledged)
        self._client.disconnect()
        self._client.loop_stop()
        if self.lost:
            log.warning("%s: %d events were not acknowledged by the broker", self.name, self.lost)

    def _use_tls(self, ca: str | None) -> None:
        try:
            self._client.tls_set(ca_certs=ca)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise SinkError(f"the certificates cannot be loaded ({error})", where=ca or self.name) from error

    def _connect(self, host: str, port: int, keepalive_s: int, timeout_s: float) -> None:
        try:
            self._client.connect(host, port, keepalive=keepalive_s)
        except ssl.SSLCertVerificationError as error:
            raise SinkError(
                f"the broker's certificate is not trusted ({error.verify_message})",
                where=self.name,
                hint="give the certificate of its authority: mqtts://…?ca=FILE",
            ) from error
        except (OSError, ValueError) as error:
            raise SinkError(
                f"no broker can be reached ({error})", where=self.name, hint="check host, port and network"
            ) from error
        self._client.loop_start()
        if not self._answered.wait(timeout_s):
            self._abandon()
            raise SinkError(f"the broker did not answer within {timeout_s:g} s", where=self.name)
        if self._refusal is not None:
            self._abandon()
            raise SinkError(
                f"the broker refused the login ({self._refusal})",
                where=self.name,
                hint="give user and password: mqtt://user:password@host",
            )

    def _abandon(self) -> None:
        self._closing = True
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        """Runs in paho's thread, after every CONNACK, a refusal too."""
        first = not self._answered.is_set()
        if reason.is_failure:
            if not first and self._refusal is None:
                log.warning("%s: the broker refused the login (%s); trying on", self.name, reason)
            self._refusal = str(reason)
            self._answered.set()
            return
        if not first:
            log.info("%s: connected again", self.name)
        self._refusal = None
        self._connected_at = time.monotonic()
        for state in list(self._states.values()):
            self._publish_state(state)
        client.publish(f"{self._root}/available", "online", qos=1, retain=True)
        self._answered.set()

    def _on_disconnect(
        self, client: Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        if self._closing or self._refusal is not None or not self._connected_at:
            return
        short = time.monotonic() - self._connected_at < _SHORT_S
        self._short_connections = self._short_connections + 1 if short else 0
        hint = f"; is another edge-ad running as node '{self._node}'?" if self._short_connections > 1 else ""
        log.warning("%s: connection lost (%s), reconnecting; events wait%s", self.name, reason, hint)

    def _publish_state(self, state: State) -> None:
        self._client.publish(f"{self._root}/{state.stream}/state", state.to_json(), qos=1, retain=True)
