"""MQTT as subscribers see it: topics, retention, refusals, broken connections, what is confirmed and what is not."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from mosquitto import Mosquitto, Subscriber, free_port, wait_until

from edge_ad.errors import SinkError, UsageError
from edge_ad.runtime.events import Event, Score, State, parse_event
from edge_ad.runtime.notes import Availability, Crop, Health
from edge_ad.runtime.sinks import open_sink
from edge_ad.runtime.sinks.base import Command, DeviceInfo, StreamInfo
from edge_ad.runtime.sinks.mqtt import MqttSink

MakeEvent = Callable[..., Event]
EVENTS = "edge-ad/line3/cam0/event"
AVAILABLE = "edge-ad/line3/available"
STREAM = StreamInfo("cam0", "ab" * 32, "efficientad", "image", 0.5, (0.2, 0.9))
DEVICE = DeviceInfo("line3", "0.1.0", (STREAM,))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def subscriber(broker: Mosquitto) -> Iterator[Subscriber]:
    subscriber = Subscriber(broker.port)
    yield subscriber
    subscriber.close()


def opened(port: int, query: str = "", on_command: Any = None, **options: Any) -> MqttSink:
    sink = open_sink(f"mqtt://127.0.0.1:{port}/line3{query}", node="ignored", options=options)
    assert isinstance(sink, MqttSink)
    sink.introduce(DEVICE, on_command)
    return sink


def collect(sink: MqttSink, count: int) -> list[int]:
    """What is confirmed, once it is so much."""
    woken, done = threading.Event(), []
    sink.wake = woken.set
    while len(done) < count:
        done += sink.confirmed()
        if len(done) < count:
            assert woken.wait(30), "it was never confirmed"
            woken.clear()
    return done


def state_of(event: Event, anomalous: bool) -> State:
    return State(
        ts=event.ts, stream=event.stream, anomalous=anomalous, verdict="anomalous" if anomalous else "normal",
        score=event.score, threshold=event.threshold, bundle=event.bundle,
        event_id=event.event_id if anomalous else None,
    )  # fmt: skip


def test_everything_stands_on_its_topic_and_online_comes_behind_the_states(
    broker: Mosquitto, subscriber: Subscriber, make_event: MakeEvent
) -> None:
    sink = opened(broker.port, crops=True)
    event = make_event(1)
    ts = event.ts
    sink.connect()
    sink.show(state_of(event, True))
    sink.show(Availability(ts=ts, stream="cam0", online=False, reason="unplugged"))
    sink.show(
        Health(ts=ts, stream="cam0", online=False, frames=1, anomalous=0, events=0, dropped=3, unreadable=0)
    )
    sink.send(event)
    for i in range(5):
        sink.show(Score(ts=ts, stream="cam0", score=i, threshold=0.5))
    sink.crop(Crop("cam0", event.event_id, b"\xff\xd8jpeg"))
    assert collect(sink, 1) == [1]
    sink.close()
    wait_until(lambda: "stopped" in subscriber.on(AVAILABLE))
    topics = [topic for topic, _, _ in subscriber.messages]
    assert topics.index("edge-ad/line3/cam0/state") < topics.index(AVAILABLE)
    assert subscriber.on(AVAILABLE) == ["online", "stopped"]
    assert [parse_event(text) for text in subscriber.on(EVENTS)] == [event]
    scores = [json.loads(text)["score"] for text in subscriber.on("edge-ad/line3/cam0/score")]
    assert scores == [0]  # rate-limited
    assert json.loads(subscriber.on("edge-ad/line3/cam0/health")[0])["dropped"] == 3
    assert subscriber.on("edge-ad/line3/cam0/available") == ["offline", "stopped"]
    pictures = [
        payload for topic, payload, _ in subscriber.messages if topic.endswith(f"/crop/{event.event_id}")
    ]
    assert pictures == [b"\xff\xd8jpeg"]


def test_what_is_retained_is_what_a_late_subscriber_needs(broker: Mosquitto, make_event: MakeEvent) -> None:
    sink = opened(broker.port)
    sink.connect()
    sink.show(state_of(make_event(1), False))
    sink.send(make_event(1))
    collect(sink, 1)
    sink.close()
    late = Subscriber(broker.port, client_id="late")
    wait_until(lambda: len(late.messages) >= 3)
    kept = {(topic, retained) for topic, _, retained in late.messages}
    names = ("available", "cam0/available", "cam0/state")
    assert kept == {(f"edge-ad/line3/{name}", True) for name in names}
    late.close()


def test_every_event_of_a_burst_is_confirmed_and_arrives_in_order(
    broker: Mosquitto, subscriber: Subscriber, make_event: MakeEvent
) -> None:
    sink = opened(broker.port)
    sink.connect()
    for seq in range(1, 301):
        sink.send(make_event(seq))
    assert sorted(collect(sink, 300)) == list(range(1, 301))
    wait_until(lambda: len(subscriber.on(EVENTS)) >= 300)
    assert [parse_event(text).seq for text in subscriber.on(EVENTS)] == list(range(1, 301))
    sink.close()


def test_with_ack_only_a_consumers_word_confirms_and_only_of_what_was_sent(
    broker: Mosquitto, subscriber: Subscriber, make_event: MakeEvent
) -> None:
    sink = opened(broker.port, "?ack=true&ack_timeout_s=3")
    assert sink.window == 1 and sink.confirm_timeout_s == 3
    sink.connect()
    sink.send(make_event(7))
    wait_until(lambda: subscriber.on(EVENTS))
    for wrong in ('{"seq": 8}', '{"seq": 7, "event_id": "another"}', "7", "x", '{"seq": true}', "[" * 9999):
        subscriber.publish(f"{EVENTS}/ack", wrong)
    assert sink.confirmed() == []
    subscriber.publish(f"{EVENTS}/ack", json.dumps({"seq": 7, "event_id": "line3-00ff-7"}))
    assert collect(sink, 1) == [7]
    sink.send(make_event(8))
    sink.send(make_event(9))
    subscriber.publish(f"{EVENTS}/ack", '{"seq": [8, 9]}')
    assert collect(sink, 2) == [8, 9]
    sink.close()


def test_commands_are_carried_out_once_and_answered(broker: Mosquitto, subscriber: Subscriber) -> None:
    seen: list[Command] = []

    def carry_out(command: Command) -> Mapping[str, Any]:
        seen.append(command)
        if command.name == "fly":
            raise UsageError("unknown command 'fly'")
        return {"threshold": command.arguments.get("value")}

    topic = "edge-ad/line3/cam0/cmd/threshold"
    subscriber.publish("edge-ad/line3/cmd/pause", "{}", retain=True)  # from long ago
    sink = opened(broker.port, on_command=carry_out)
    sink.connect()

    def ask(topic: str, payload: str) -> dict[str, Any]:
        before = len(subscriber.on(f"{topic}/ack"))
        subscriber.publish(topic, payload)
        wait_until(lambda: len(subscriber.on(f"{topic}/ack")) > before)
        answer: dict[str, Any] = json.loads(subscriber.on(f"{topic}/ack")[-1])
        return answer

    schema = "edge-ad/ack/1"
    assert ask(topic, '{"value": 0.6, "id": 5}') == {"schema": schema, "ok": True, "id": 5, "threshold": 0.6}
    assert ask(topic, '{"value": 0.6, "id": 5}')["ok"] and len(seen) == 1  # again, and not carried out
    assert ask(topic, "0.7")["threshold"] == 0.7 and ask(topic, "")["threshold"] is None
    assert ask("edge-ad/line3/cmd/fly", "{}") == {
        "schema": schema,
        "ok": False,
        "error": "unknown command 'fly'",
    }
    for wrong in ("[1]", "{", "x" * 5000):
        assert not ask(topic, wrong)["ok"]
    assert [(command.name, command.stream) for command in seen] == [
        ("threshold", "cam0"), ("threshold", "cam0"), ("threshold", "cam0"), ("fly", None),
    ]  # fmt: skip
    sink.close()


def test_home_assistant_is_told_of_the_device_once_and_lastingly(broker: Mosquitto) -> None:
    sink = opened(broker.port, discovery="homeassistant")
    sink.connect()
    sink.close()
    late = Subscriber(broker.port, client_id="late")
    topic = "homeassistant/device/edge-ad-line3/config"
    wait_until(lambda: late.on(topic))
    told = json.loads(late.on(topic)[0])
    assert told["dev"]["ids"] == ["edge-ad-line3"] and told["o"]["name"] == "edge-ad"
    parts = told["cmps"]
    assert {part["p"] for part in parts.values()} == {"binary_sensor", "sensor", "switch", "number"}
    assert len({part["uniq_id"] for part in parts.values()}) == len(parts) == 5
    for part in parts.values():
        assert part["avty_mode"] == "all" and [a["t"] for a in part["avty"]] == [
            AVAILABLE, "edge-ad/line3/cam0/available",
        ]  # fmt: skip
        assert "stat_t" in part
    number = next(part for part in parts.values() if part["p"] == "number")
    assert (number["min"], number["max"], number["cmd_t"]) == (0.2, 0.9, "edge-ad/line3/cam0/cmd/threshold")
    late.close()


def test_a_broker_that_is_down_or_unknown_is_an_error_without_the_password() -> None:
    sink = open_sink(f"mqtt://u:secret@127.0.0.1:{free_port()}", node="n")
    with pytest.raises(SinkError, match=r"mqtt://127.0.0.1:\d+/n: no broker can be reached \(.*refused"):
        sink.connect()
    with pytest.raises(SinkError, match="no broker can be reached"):
        open_sink("mqtt://no-such-host.invalid", node="n").connect()
    sink.close()


def test_a_server_that_accepts_and_then_says_nothing_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        sink = opened(mute.getsockname()[1], "?connect_timeout_s=0.3")
        with pytest.raises(SinkError, match=r"the broker did not answer within 0\.3 s"):
            sink.connect()


def test_a_refused_login_is_an_error_and_never_called_connected(
    tmp_path: Path, make_event: MakeEvent
) -> None:
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto_passwd is not installed")
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "cam", "right"], check=True)
    secret.write_text("right\n")
    server = Mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}")
    server.start()
    for login in ("", "cam:wrong@", "other:right@"):
        sink = open_sink(f"mqtt://{login}127.0.0.1:{server.port}/line3", node="n")
        with pytest.raises(SinkError, match=r"the broker refused the login \(Not authorized\)") as caught:
            sink.connect()
        assert "wrong" not in str(caught.value)
    subscriber = Subscriber(server.port, username="cam")
    for options in (
        {"username": "cam", "password": "right"},
        {"username": "cam", "password_file": str(secret)},
    ):
        sink = opened(server.port, **options)
        sink.connect()
        sink.send(make_event(1))
        assert collect(sink, 1) == [1]
        sink.close()
    wait_until(lambda: subscriber.on(AVAILABLE) == ["online", "stopped"] * 2)
    subscriber.close()
    server.stop()


def test_the_last_will_of_a_killed_runtime_says_offline(broker: Mosquitto, subscriber: Subscriber) -> None:
    program = (
        "import time; from edge_ad.runtime.sinks import open_sink\n"
        f"sink = open_sink('mqtt://127.0.0.1:{broker.port}/line3', node='n'); sink.connect(); sink.confirmed()\n"
        "time.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", program])
    wait_until(lambda: subscriber.on(AVAILABLE) == ["online"])
    child.kill()
    child.wait(30)
    wait_until(lambda: subscriber.on(AVAILABLE) == ["online", "offline"])
    late = Subscriber(broker.port, client_id="late")
    wait_until(lambda: (AVAILABLE, b"offline", True) in late.messages)
    late.close()


def test_a_broker_that_is_killed_is_an_error_at_once_and_nothing_is_sent_again_behind_our_back(
    broker: Mosquitto, make_event: MakeEvent
) -> None:
    sink = opened(broker.port)
    woken = threading.Event()
    sink.wake = woken.set
    sink.connect()
    sink.send(make_event(1))
    collect(sink, 1)
    sink.wake = woken.set
    woken.clear()
    broker.freeze()
    sink.send(make_event(2))  # never confirmed
    broker.kill()
    assert woken.wait(30)
    for call in (sink.confirmed, lambda: sink.send(make_event(3))):
        with pytest.raises(SinkError, match="the connection was lost"):
            call()
    broker.start()
    subscriber = Subscriber(broker.port)
    sink.connect()
    sink.send(make_event(3))
    assert collect(sink, 1) == [3]
    wait_until(lambda: subscriber.on(EVENTS))
    assert [parse_event(text).seq for text in subscriber.on(EVENTS)] == [3]
    subscriber.close()
    sink.close()


def test_a_broker_that_freezes_is_found_out_by_its_silence(broker: Mosquitto) -> None:
    sink = opened(broker.port, "?keepalive_s=1")
    woken = threading.Event()
    sink.wake = woken.set
    sink.connect()
    broker.freeze()
    assert woken.wait(30)
    with pytest.raises(SinkError, match="the connection was lost"):
        sink.confirmed()
    sink.close()


def test_who_is_pushed_out_again_and_again_is_told_why(broker: Mosquitto) -> None:
    one, two = opened(broker.port), opened(broker.port)
    message = ""
    for _ in range(4):
        for sink in (one, two):
            woken = threading.Event()
            other = two if sink is one else one
            other.wake = woken.set
            sink.connect()
            if message == "" and other is two and other._connection is None:
                continue
            assert woken.wait(30)
            with pytest.raises(SinkError) as caught:
                other.confirmed()
            message = str(caught.value)
    assert "is another edge-ad running as node 'line3'?" in message
    one.close()
    two.close()


def test_tls_needs_a_certificate_that_is_trusted_and_may_ask_for_one(
    tmp_path: Path, make_event: MakeEvent
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
    listener = f"certfile {ca}\nkeyfile {key}\ncafile {ca}\nrequire_certificate true"
    server = Mosquitto(tmp_path, listener=listener)
    server.start()
    url = f"mqtts://127.0.0.1:{server.port}/line3"
    sink = open_sink(f"{url}?ca={ca}", node="n", options={"cert": str(ca), "key": str(key)})
    assert isinstance(sink, MqttSink)
    sink.connect()
    sink.send(make_event(1))
    assert collect(sink, 1) == [1]
    sink.close()
    with pytest.raises(SinkError, match=r"certificate is not trusted \(.*\); give the certificate"):
        open_sink(url, node="n").connect()
    with pytest.raises(SinkError):
        open_sink(f"{url}?ca={ca}&connect_timeout_s=1", node="n").connect()  # shows no certificate
    with pytest.raises(SinkError):
        open_sink(
            f"mqtt://127.0.0.1:{server.port}?connect_timeout_s=1", node="n"
        ).connect()  # plain, at a TLS port
    server.stop()
