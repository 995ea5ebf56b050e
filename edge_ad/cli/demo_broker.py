"""An MQTT broker inside this process, and a subscriber, for the demonstration."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import paho.mqtt.client as mqtt

from edge_ad.errors import MissingDependencyError, SinkError

START_S = 10.0


@contextmanager
def broker() -> Iterator[int]:
    """Run amqtt on a free port of this machine; yields the port. Raises MissingDependencyError, SinkError."""
    try:
        from amqtt.broker import Broker
    except ImportError as error:
        raise MissingDependencyError("the demo needs amqtt", hint="pip install 'edge-ad[demo]'") from error
    logging.getLogger("amqtt").setLevel(logging.ERROR)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    started = threading.Event()
    control: dict[str, object] = {}

    async def serve() -> None:
        stop = asyncio.Event()
        control["loop"], control["stop"] = asyncio.get_running_loop(), stop
        server = Broker(config)
        await server.start()
        started.set()
        await stop.wait()
        await server.shutdown()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="broker", daemon=True)
    thread.start()
    if not started.wait(START_S):
        raise SinkError("the embedded MQTT broker did not start", where=f"127.0.0.1:{port}")
    try:
        yield port
    finally:
        control["loop"].call_soon_threadsafe(control["stop"].set)  # type: ignore[attr-defined]
        thread.join(START_S)


class Subscriber:
    """Collects the messages of one topic."""

    def __init__(self, port: int, topic: str):
        self._messages: list[bytes] = []
        self._arrived = threading.Condition()
        ready = threading.Event()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_message = lambda client, data, message: self._take(bytes(message.payload))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        if not ready.wait(START_S):
            raise SinkError("the embedded MQTT broker does not answer", where=f"127.0.0.1:{port}")

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, payload: bytes) -> None:
        with self._arrived:
            self._messages.append(payload)
            self._arrived.notify_all()

    def wait_for(self, count: int, timeout_s: float = 10.0) -> list[bytes]:
        """The messages so far, once there are `count` of them. Raises SinkError when they do not come."""
        deadline = time.monotonic() + timeout_s
        with self._arrived:
            while len(self._messages) < count:
                if not self._arrived.wait(max(0.0, deadline - time.monotonic())):
                    raise SinkError(f"{len(self._messages)} of {count} events arrived over MQTT")
            return list(self._messages)
