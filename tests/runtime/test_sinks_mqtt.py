"""MQTT as subscribers see it: topics, retention, refusals, broken connections, what is counted as lost.

An embedded broker (amqtt) serves for what any broker does; mosquitto, where it is installed, for logins,
certificates, restarts and clients or brokers that are killed or frozen.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from edge_ad.errors import SinkError
from edge_ad.runtime.events import Event, Score, State, parse_event
from edge_ad.runtime.sinks import open_sink
from edge_ad.runtime.sinks.mqtt import MqttSink

MakeEvent = Callable[..., Event]
EVENTS = "edge-ad/line3/cam0/event"
AVAILABLE = "edge-ad/line3/available"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


class Subscriber:
    """Keeps (topic, text, retained) of all that is published below edge-ad/."""

    def __init__(self, port: int, *, username: str | None = None, client_id: str = "subscriber") -> None:
        self.messages: list[tuple[str, str, bool]] = []
        self.ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
        self.client.username_pw_set(username, "right" if username else None)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe("edge-ad/#", qos=1)
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.on_message = self._keep
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self.ready.wait(30)

    def _keep(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        self.messages.append((message.topic, message.payload.decode(), message.retain))

    def on(self, topic: str) -> list[str]:
        return [text for where, text, _ in self.messages if where == topic]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture(scope="module")
def broker() -> Iterator[int]:
    """The embedded broker's port."""
    amqtt = pytest.importorskip("amqtt.broker")
    port = free_port()
    plugin = "amqtt.plugins.authentication.AnonymousAuthPlugin"
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {plugin: {"allow_anonymous": True}},
    }
    started = threading.Event()
    control: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        broker = amqtt.Broker(config)
        stop = asyncio.Event()
        await broker.start()
        control.append((asyncio.get_running_loop(), stop))
        started.set()
        await stop.wait()
        await broker.shutdown()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(30)
    yield port
    loop, stop = control[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)


@pytest.fixture
def subscriber(broker: int) -> Iterator[Subscriber]:
    subscriber = Subscriber(broker)
    yield subscriber
    subscriber.close()


def _state(event: Event, anomalous: bool) -> State:
    return State(
        ts=event.ts, stream=event.stream, anomalous=anomalous, score=event.score, threshold=event.threshold,
        bundle=event.bundle, event_id=event.event_id if anomalous else None,
    )  # fmt: skip


def test_events_state_scores_and_availability_stand_on_their_topics(
    broker: int, subscriber: Subscriber, make_event: MakeEvent
) -> None:
    sink = open_sink(f"mqtt://127.0.0.1:{broker}/line3", node="ignored")
    event = make_event(1)
    sink.state(_state(event, True))
    sink.event(event)
    for i in range(5):
        sink.score(Score(ts=event.ts, stream="cam0", score=i, threshold=0.5))
    sink.close()
    wait_until(lambda: "stopped" in subscriber.on(AVAILABLE))
    assert subscriber.on(AVAILABLE)[-2:] == ["online", "stopped"]
    assert [parse_event(text) for text in subscriber.on(EVENTS)] == [event]
    assert [json.loads(text)["score"] for text in subscriber.on("edge-ad/line3/cam0/score")] == [
        0
    ]  # rate-limited
    assert json.loads(subscriber.on("edge-ad/line3/cam0/state")[0])["event_id"] == event.event_id
    assert sink.lost == 0


def test_only_availability_and_state_are_retained(broker: int, make_event: MakeEvent) -> None:
    sink = open_sink(f"mqtt://127.0.0.1:{broker}", node="kept")
    sink.event(make_event(1))
    sink.state(_state(make_event(1), False))
    sink.close()
    late = Subscriber(broker, client_id="late")
    wait_until(lambda: len({m[0] for m in late.messages if "/kept/" in m[0]}) >= 2)
    kept = {(topic, retained) for topic, _, retained in late.messages if "/kept/" in topic}
    assert kept == {("edge-ad/kept/available", True), ("edge-ad/kept/cam0/state", True)}
    assert late.on("edge-ad/kept/available")[-1] == "stopped"
    late.close()


def test_every_event_of_a_burst_arrives(broker: int, subscriber: Subscriber, make_event: MakeEvent) -> None:
    sink = open_sink(f"mqtt://127.0.0.1:{broker}/line3", node="n")
    for seq in range(1, 301):
        sink.event(make_event(seq))
    sink.close()
    assert sink.lost == 0
    wait_until(lambda: len(subscriber.on(EVENTS)) >= 300)
    assert {parse_event(text).seq for text in subscriber.on(EVENTS)} == set(range(1, 301))


def test_a_broker_that_is_down_or_unknown_is_an_error() -> None:
    with pytest.raises(SinkError, match=r"mqtt://127.0.0.1:\d+/n: no broker can be reached \(.*refused"):
        open_sink(f"mqtt://u:secret@127.0.0.1:{free_port()}", node="n")
    with pytest.raises(SinkError, match="no broker can be reached"):
        open_sink("mqtt://no-such-host.invalid", node="n")


def test_a_server_that_accepts_and_then_says_nothing_is_an_error() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(SinkError, match=r"the broker did not answer within 0\.3 s"),
    ):
        MqttSink("127.0.0.1", mute.getsockname()[1], node="n", connect_timeout_s=0.3)


class Mosquitto:
    """A mosquitto process on a port that stays the same over restarts, as do its sessions."""

    def __init__(self, folder: Path, *lines: str, listener: str = "") -> None:
        self.port = free_port()
        self.config = folder / "mosquitto.conf"
        listener = f"listener {self.port} 127.0.0.1\n{listener}"
        persistence = f"persistence true\npersistence_location {folder}/"
        self.config.write_text("\n".join([listener, persistence, "user root", *lines, ""]))
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [str(shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")), "-c", str(self.config)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

        def answers() -> bool:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert self.process.poll() is None, "mosquitto did not start"
                return False
            return True

        wait_until(answers)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Starts mosquitto with the given lines of configuration."""
    if shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("mosquitto is not installed (apt-get install --no-install-recommends mosquitto)")
    running: list[Mosquitto] = []

    def start(*lines: str, listener: str = "") -> Mosquitto:
        running.append(Mosquitto(tmp_path, *lines, listener=listener))
        return running[-1]

    yield start
    for server in running:
        server.stop()


def test_a_refused_login_is_an_error_at_once_and_never_called_connected(
    mosquitto: Callable[..., Mosquitto], tmp_path: Path, make_event: MakeEvent
) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "cam", "right"], check=True)
    server = mosquitto("allow_anonymous false", f"password_file {passwords}")
    for login in ("", "cam:wrong@", "other:right@"):
        with pytest.raises(SinkError, match=r"the broker refused the login \(Not authorized\)") as caught:
            open_sink(f"mqtt://{login}127.0.0.1:{server.port}", node="line3")
        assert "wrong" not in str(caught.value)
    subscriber = Subscriber(server.port, username="cam")
    sink = open_sink(f"mqtt://cam:right@127.0.0.1:{server.port}", node="line3")
    sink.event(make_event(1))
    sink.close()
    wait_until(lambda: subscriber.on(EVENTS) and subscriber.on(AVAILABLE) == ["online", "stopped"])
    subscriber.close()


def test_the_last_will_of_a_killed_runtime_says_offline(mosquitto: Callable[..., Mosquitto]) -> None:
    server = mosquitto("allow_anonymous true")
    subscriber = Subscriber(server.port)
    program = (
        "import time; from edge_ad.runtime.sinks import open_sink\n"
        f"sink = open_sink('mqtt://127.0.0.1:{server.port}', node='line3'); time.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", program])
    wait_until(lambda: subscriber.on(AVAILABLE) == ["online"])
    child.kill()
    child.wait(30)
    wait_until(lambda: subscriber.on(AVAILABLE) == ["online", "offline"])
    late = Subscriber(server.port, client_id="late")
    wait_until(lambda: (AVAILABLE, "offline", True) in late.messages)
    late.close()
    subscriber.close()


def test_events_made_while_the_broker_restarts_arrive_and_state_is_shown_anew(
    mosquitto: Callable[..., Mosquitto], make_event: MakeEvent
) -> None:
    server = mosquitto("allow_anonymous true")
    subscriber = Subscriber(server.port)
    sink = open_sink(f"mqtt://127.0.0.1:{server.port}", node="line3")
    sink.event(make_event(1))
    wait_until(lambda: subscriber.on(EVENTS))
    server.stop()
    for seq in range(2, 42):
        sink.event(make_event(seq))
    sink.state(_state(make_event(7), True))
    server.start()
    wait_until(lambda: len(set(subscriber.on(EVENTS))) == 41)
    wait_until(lambda: subscriber.on("edge-ad/line3/cam0/state"))
    sink.close()
    assert sink.lost == 0
    wait_until(lambda: subscriber.on(AVAILABLE)[-1] == "stopped")
    assert {parse_event(text).seq for text in subscriber.on(EVENTS)} == set(range(1, 42))
    assert subscriber.on(AVAILABLE)[-2:] == ["online", "stopped"]
    subscriber.close()


def test_the_queue_for_a_broker_that_is_away_is_bounded_and_what_stays_in_it_is_counted(
    mosquitto: Callable[..., Mosquitto], make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    server = mosquitto("allow_anonymous true")
    sink = MqttSink("127.0.0.1", server.port, node="line3", queue_limit=5, ack_timeout_s=0.2)
    server.stop()
    accepted = 0
    with pytest.raises(SinkError, match="queue of events that wait for the broker is full"):
        for seq in range(1, 99):
            sink.event(make_event(seq))
            accepted = seq
    assert accepted in (4, 5)  # "online" may still hold a place
    sink.close()
    assert sink.lost == accepted
    assert any(f"{accepted} events were not acknowledged" in message for message in caplog.messages)


def test_events_that_a_frozen_broker_never_acknowledged_are_counted(
    mosquitto: Callable[..., Mosquitto], make_event: MakeEvent
) -> None:
    server = mosquitto("allow_anonymous true")
    sink = MqttSink("127.0.0.1", server.port, node="line3", ack_timeout_s=0.3)
    server.process.send_signal(signal.SIGSTOP)
    for seq in range(1, 4):
        sink.event(make_event(seq))
    sink.close()
    assert sink.lost == 3


def test_tls_needs_a_certificate_that_is_trusted(
    mosquitto: Callable[..., Mosquitto], tmp_path: Path, make_event: MakeEvent
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    ca, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(ca)],
        check=True, capture_output=True,
    )  # fmt: skip
    server = mosquitto("allow_anonymous true", listener=f"certfile {ca}\nkeyfile {key}")
    sink = open_sink(f"mqtts://127.0.0.1:{server.port}?ca={ca}", node="line3")
    sink.event(make_event(1))
    sink.close()
    assert sink.lost == 0
    with pytest.raises(SinkError, match=r"certificate is not trusted \(.*\); give the certificate"):
        open_sink(f"mqtts://127.0.0.1:{server.port}", node="line3")
    with pytest.raises(SinkError, match=r"nope\.pem: the certificates cannot be loaded"):
        open_sink(f"mqtts://127.0.0.1:{server.port}?ca={tmp_path}/nope.pem", node="line3")
    with pytest.raises(SinkError, match=r"did not answer|no broker can be reached|refused"):
        MqttSink("127.0.0.1", server.port, node="line3", connect_timeout_s=1.0)  # plain, at a TLS port
