"""A station that is left alone: broker and runtime are killed again and again, and every event reaches its consumer."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mosquitto import Mosquitto
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from series_bundle import make_series_bundle

from edge_ad.runtime.events import Event, parse_event

pytest.importorskip("openvino")

STATION = """
node = "line3"
state = "keep"
[[stream]]
name = "pump"
bundle = "b.edgead"
source = "series:x.npy?pace=recorded"
decision = {{ k = 2, n = 3, release = 3 }}
[[sink]]
url = "mqtt://127.0.0.1:{port}"
ack = true
ack_timeout_s = 2
"""


def wait_until(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


class Consumer:
    """Acknowledges every event once it has it, as a program that stores events would."""

    def __init__(self, port: int) -> None:
        self.events: list[Event] = []
        self.client = Client(CallbackAPIVersion.VERSION2, client_id="consumer", clean_session=False)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe("edge-ad/line3/pump/event", qos=1)
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _take(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        event = parse_event(message.payload)
        self.events.append(event)
        client.publish(
            f"{message.topic}/ack", json.dumps({"seq": event.seq, "event_id": event.event_id}), qos=1
        )

    @property
    def story(self) -> list[tuple[str, int, float, str]]:
        """What it has, without what came twice: kind, number of the event, score, sample; as it arrived."""
        once = list({(event.event_id, event.seq): event for event in self.events}.values())
        ids = list(dict.fromkeys(event.event_id for event in once))
        return [(event.kind, ids.index(event.event_id), event.score, event.sample) for event in once]

    @property
    def seqs(self) -> list[int]:
        return list({(event.event_id, event.seq): event.seq for event in self.events}.values())

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Device:
    """The runtime as a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.log = (folder / "log").open("ab")

    def start(self) -> None:
        command = [sys.executable, "-m", "edge_ad", "run", "station.toml"]
        self.process = subprocess.Popen(command, cwd=self.folder, stderr=self.log, stdout=self.log)

    def kill(self) -> bool:
        """False when it has come to its end already."""
        assert self.process is not None
        if self.process.poll() is not None:
            return False
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return True

    def wait(self) -> int:
        assert self.process is not None
        code = self.process.wait(300)
        assert code == 0, (self.folder / "log").read_text()[-3000:]
        return code

    def memory_kib(self) -> int:
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0])  # without pages of the file that is replayed


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    (tmp_path / "broker").mkdir()
    broker = Mosquitto(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


def make_station(folder: Path, n_rows: int, port: int) -> None:
    """A series with an anomaly every 400 rows, and what judges it."""
    folder.mkdir()
    make_series_bundle(folder / "b.edgead", rate_hz=1000.0)
    rng = np.random.default_rng(1)
    rows = rng.normal(0, 0.3, (n_rows, 2)).astype(np.float32)
    for begin in range(200, n_rows, 400):
        rows[begin : begin + rng.integers(5, 40)] *= rng.uniform(5, 12)
    np.save(folder / "x.npy", rows)
    (folder / "station.toml").write_text(STATION.format(port=port))


def expected_story(folder: Path) -> list[tuple[str, int, float, str]]:
    """What an undisturbed run tells, into a file."""
    command = [
        sys.executable, "-m", "edge_ad", "run", "b.edgead", "--source", "series:x.npy", "--sink", "jsonl:whole.jsonl",
        "--k", "2", "--n", "3", "--release", "3",
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    events = [parse_event(line) for line in (folder / "whole.jsonl").read_text().splitlines()]
    ids = list(dict.fromkeys(event.event_id for event in events))
    return [(event.kind, ids.index(event.event_id), event.score, event.sample) for event in events]


@pytest.mark.parametrize(
    ("n_rows", "kills"),
    [(10_000, 3), pytest.param(100_000, 20, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
)
def test_every_event_reaches_the_consumer_though_broker_and_runtime_are_killed(
    tmp_path: Path, broker: Mosquitto, n_rows: int, kills: int
) -> None:
    folder = tmp_path / "station"
    make_station(folder, n_rows, broker.port)
    expected = expected_story(folder)
    assert len(expected) > n_rows / 400
    consumer, device, rng = Consumer(broker.port), Device(folder), random.Random(0)
    killed = {"runtime": 0, "broker": 0}
    device.start()
    for turn in range(2 * kills):
        goal = len(consumer.story) + max(1, len(expected) // (6 * kills))
        wait_until(lambda goal=goal: len(consumer.story) >= goal or device.process.poll() is not None)  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.2))
        if turn % 2:
            killed["broker"] += 1
            broker.kill()
            time.sleep(rng.uniform(0, 0.5))
            broker.start()
        elif device.kill():
            killed["runtime"] += 1
            device.start()
    while device.wait() == 0 and len(consumer.story) < len(
        expected
    ):  # what waits is delivered by the next run
        device.start()
    consumer.close()
    assert killed == {"runtime": kills, "broker": kills}
    assert consumer.story == expected
    assert consumer.seqs == list(range(1, len(expected) + 1))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_stays_flat(tmp_path: Path, broker: Mosquitto) -> None:
    folder = tmp_path / "station"
    make_station(folder, 100_000, broker.port)
    consumer, device = Consumer(broker.port), Device(folder)
    device.start()
    assert device.process is not None
    sizes: list[tuple[int, int]] = []  # (events so far, KiB)
    while device.process.poll() is None:
        try:
            sizes.append((len(consumer.events), device.memory_kib()))
        except (FileNotFoundError, IndexError, ProcessLookupError):
            break
        threading.Event().wait(0.2)
    assert device.process.wait(60) == 0
    consumer.close()
    total = len(consumer.events)
    later = [
        kib for n, kib in sizes if total / 10 <= n <= 0.98 * total
    ]  # without the start and the end of the process
    assert len(later) > 20 and max(later) - later[0] < 1024, (later[0], max(later))
