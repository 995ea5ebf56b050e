"""Rows from an MQTT topic, with Debian's mosquitto: what comes, what is refused, and a broker that goes away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from row_sources import Mosquitto, Reading, series_input, wait_until

from edge_ad.errors import SourceError
from edge_ad.runtime.sources.rows import open_rows

STALL_S = 30.0
TOPIC = "plant/line 3/rows"
URL_TOPIC = "plant/line%203/rows"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path)
    yield made
    made.kill()


class Publisher:
    def __init__(self, port: int, username: str | None = None) -> None:
        self.client = Client(CallbackAPIVersion.VERSION2, client_id="publisher")
        self.client.username_pw_set(username, "right")
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def send(self, payload: object, *, retain: bool = False, topic: str = TOPIC) -> None:
        raw = payload if isinstance(payload, bytes | str) else json.dumps(payload)
        self.client.publish(topic, raw, qos=1, retain=retain).wait_for_publish(30)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def publisher(broker: Mosquitto) -> Iterator[Publisher]:
    made = Publisher(broker.port)
    yield made
    made.close()


def subscribe(broker: Mosquitto, query: str = "", *, stall_s: float = STALL_S) -> Reading:
    url = f"mqtt://127.0.0.1:{broker.port}/{URL_TOPIC}{query}"
    return Reading(open_rows(url, series_input(), stall_s=stall_s))


def firsts(reader: Reading) -> list[list[int]]:
    return [s.data[:, 0].astype(int).tolist() for s in reader.samples]


def row(i: int) -> dict[str, float]:
    return {"ts": 1000 + i / 10, "b": -i, "a": i, "humidity": 3}


def test_objects_lists_of_them_and_lines_are_rows(broker: Mosquitto, publisher: Publisher) -> None:
    reader = subscribe(broker)
    assert reader.source.name == f"mqtt://127.0.0.1:{broker.port}/{URL_TOPIC}" and reader.source.live
    publisher.send(row(0))
    publisher.send([row(1), row(2)])
    publisher.send(json.dumps(row(3)) + "\n" + json.dumps(row(4)))
    publisher.send("time,b,a\n1000.5,-5,5\n")
    reader.wait_for(2).close()
    assert firsts(reader) == [[0, 1, 2, 3], [2, 3, 4, 5]] and reader.error is None
    assert [s.ts.timestamp() for s in reader.samples] == pytest.approx([1000.3, 1000.5])


def test_bare_numbers_are_rows_without_a_time(broker: Mosquitto, publisher: Publisher) -> None:
    reader = subscribe(broker)
    for i in range(4):
        publisher.send(f"{i},{-i}")
    reader.wait_for(1).close()
    assert firsts(reader) == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    "bad", [b"\xff\xfe", "hello", '{"a": 1}', '[{"a": 1, "b": 2}, 3]', "[1", "1,2,3", '{"a": 1, "b": "x"}']
)
def test_a_message_that_is_no_row_is_counted_and_leaves_a_gap(
    broker: Mosquitto, publisher: Publisher, bad: str | bytes
) -> None:
    reader = subscribe(broker)
    for i in range(4):
        publisher.send({"a": i, "b": i})
    publisher.send(bad)
    publisher.send([{"a": i, "b": i} for i in range(4, 8)])
    reader.wait_for(2).close()
    assert firsts(reader) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [s.gap for s in reader.samples] == [False, True] and reader.source.unreadable == 1


def test_a_message_that_the_broker_kept_is_no_row_of_now(broker: Mosquitto, publisher: Publisher) -> None:
    publisher.send({"a": 99, "b": 99}, retain=True)
    reader = subscribe(broker)
    publisher.send([{"a": i, "b": i} for i in range(4)])
    reader.wait_for(1).close()
    assert firsts(reader) == [[0, 1, 2, 3]]


def test_many_rows_come_all_and_in_order(broker: Mosquitto, publisher: Publisher) -> None:
    reader = subscribe(broker)
    for i in range(0, 4000, 4):
        publisher.client.publish(TOPIC, json.dumps([row(k) for k in range(i, i + 4)]), qos=1)
    reader.wait_for(1999).close()
    assert firsts(reader) == [list(range(i, i + 4)) for i in range(0, 3998, 2)]


def test_a_silent_topic_is_an_error(broker: Mosquitto, publisher: Publisher) -> None:
    assert "no row for 0.2 s; check the topic" in str(subscribe(broker, stall_s=0.2).wait().error)
    reader = subscribe(broker, stall_s=1.5)
    publisher.send("nonsense")
    assert "no row for 1.5 s, 1 messages were none" in str(reader.wait().error)


def test_a_broker_that_is_killed_ends_the_attempt_and_the_next_one_goes_on(
    broker: Mosquitto, publisher: Publisher
) -> None:
    reader = subscribe(broker)
    publisher.send([row(i) for i in range(4)])
    reader.wait_for(1)
    broker.kill()
    assert isinstance(reader.wait().error, SourceError)
    assert "the connection to the broker was lost" in str(reader.error)
    with pytest.raises(SourceError, match="no broker can be reached"):
        subscribe(broker)
    broker.start()
    again = subscribe(broker)
    wait_until(publisher.client.is_connected)
    publisher.send([row(i) for i in range(4)])
    again.wait_for(1).close()


def test_a_frozen_broker_is_found_by_silence_and_can_be_left(broker: Mosquitto) -> None:
    reader = subscribe(broker, stall_s=0.5)
    other = subscribe(broker)
    os.kill(broker.process.pid, signal.SIGSTOP)
    assert "no row for 0.5 s" in str(reader.wait().error)
    assert other.close().error is None
    os.kill(broker.process.pid, signal.SIGCONT)


def test_closing_ends_the_iteration_and_keeps_nothing(broker: Mosquitto) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        assert subscribe(broker).close().error is None
    source = open_rows(f"mqtt://127.0.0.1:{broker.port}/x", series_input(), stall_s=STALL_S)
    source.close()
    assert list(source) == [] and len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_two_sources_of_one_topic_do_not_disturb_each_other(broker: Mosquitto, publisher: Publisher) -> None:
    readers = [subscribe(broker), subscribe(broker)]
    publisher.send([row(i) for i in range(4)])
    for reader in readers:
        reader.wait_for(1)
    for reader in readers:
        assert reader.close().error is None


# Logins and certificates


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mosquitto]:
    """Lets in `me` with the password `right`, who may read plant/#."""
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto_passwd is not installed")
    passwords, allowed = tmp_path / "passwords", tmp_path / "acl"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "me", "right"], check=True, timeout=30)
    allowed.write_text("user me\ntopic readwrite plant/#\n")
    made = Mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}", f"acl_file {allowed}")
    yield made
    made.kill()


def test_a_login_is_given_in_the_url_or_in_a_file(guarded: Mosquitto, tmp_path: Path) -> None:
    address = f"127.0.0.1:{guarded.port}/{URL_TOPIC}"
    (tmp_path / "password").write_text("right\n")
    for url in (
        f"mqtt://me:right@{address}",
        f"mqtt://{address}?username=me&password_file={tmp_path / 'password'}",
    ):
        publisher = Publisher(guarded.port, "me")
        reader = Reading(open_rows(url, series_input(), stall_s=STALL_S))
        publisher.send([row(i) for i in range(4)])
        reader.wait_for(1).close()
        publisher.close()
        assert "right" not in reader.source.name
    for url in (f"mqtt://me:wrong@{address}", f"mqtt://{address}"):
        with pytest.raises(
            SourceError, match=r"the broker refused the login .*; check user, password"
        ) as caught:
            open_rows(url, series_input(), stall_s=STALL_S)
        assert "wrong" not in str(caught.value)


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[Mosquitto, Path]]:
    """A broker with a certificate of its own authority, and that authority's file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made = [
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "ca.pem"],
    ]  # fmt: skip
    for command in made:
        subprocess.run(["openssl", *command], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    lines = ("allow_anonymous true", f"certfile {tmp_path / 'ca.pem'}", f"keyfile {tmp_path / 'key.pem'}")
    broker = Mosquitto(tmp_path, *lines)
    yield broker, tmp_path / "ca.pem"
    broker.kill()


def test_an_encrypted_connection_is_read_to_its_last_row(tls: tuple[Mosquitto, Path]) -> None:
    broker, ca = tls
    url = f"mqtts://127.0.0.1:{broker.port}/{URL_TOPIC}"
    with pytest.raises(SourceError, match=r"certificate is not trusted .*\?ca=FILE"):
        open_rows(url, series_input(), stall_s=STALL_S)
    reader = Reading(open_rows(f"{url}?ca={ca}", series_input(), stall_s=STALL_S))
    client = Client(CallbackAPIVersion.VERSION2)
    client.tls_set(ca_certs=str(ca))
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    for i in range(0, 400, 4):
        client.publish(TOPIC, json.dumps([row(k) for k in range(i, i + 4)]), qos=1)
    reader.wait_for(199).close()
    client.disconnect()
    client.loop_stop()
    assert firsts(reader)[-1] == [396, 397, 398, 399]
