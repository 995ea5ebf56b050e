"""The bridge as a process: ports that come and go, a noisy line, kill -9, a broker that is away."""

from __future__ import annotations

import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_events import event, framed
from mosquitto import Mosquitto, Subscriber, wait_until
from noisy_line import noisy
from row_sources import Terminal
from series_bundle import make_series_bundle

from edge_ad.firmware_bridge.boards import find
from edge_ad.firmware_bridge.emulator import Emulator
from edge_ad.firmware_bridge.frames import Decoder, Frame, FrameType, acknowledged_seq, encode
from edge_ad.runtime.events import Event, parse_event


class Process:
    """`edge-ad bridge`, started in a folder. What a test leaves behind is killed."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log_file = folder / "bridge.log"
        self._arguments = [sys.executable, "-m", "edge_ad", "bridge", *arguments]
        self._folder = folder
        self.start()

    def start(self) -> None:
        self._log = self.log_file.open("ab")
        self.process = subprocess.Popen(
            self._arguments, cwd=self._folder, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, self.log
        return out


Start = Callable[..., Process]


class Device(Terminal):
    """The far end of a line: sends events and takes acknowledgements."""

    def __init__(self) -> None:
        super().__init__()
        self._decoder = Decoder()
        self.acknowledged: list[int] = []
        os.set_blocking(self.device, False)

    def send(self, *events: Event) -> None:
        self.write(framed(*events))

    def acks(self, n: int) -> list[int]:
        """All acknowledgements so far, once there are n."""
        wait_until(lambda: self._listen() >= n)
        return self.acknowledged

    def send_until_acknowledged(self, one: Event) -> None:
        """As a device does that wants to be sure."""
        deadline = time.monotonic() + 30
        while one.seq not in self.acknowledged:
            assert time.monotonic() < deadline, "it was never acknowledged"
            self.send(one)
            again = time.monotonic() + 0.3
            while one.seq not in self.acknowledged and time.monotonic() < again:
                time.sleep(0.005)
                self._listen()

    def _listen(self) -> int:
        try:
            data = os.read(self.device, 4096)
        except BlockingIOError:
            data = b""
        found = (acknowledged_seq(frame) for frame in self._decoder.feed(data))
        self.acknowledged += [seq for seq in found if seq is not None]
        return len(self.acknowledged)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def begin(*arguments: str) -> Process:
        started.append(Process(tmp_path, *arguments))
        return started[-1]

    yield begin
    for process in started:
        process.kill()


@pytest.fixture
def devices() -> Iterator[list[Device]]:
    made = [Device(), Device()]
    yield made
    for device in made:
        device.close()


def is_open(path: str) -> bool:
    """Whether some other process has it open."""
    links = (link for process in Path("/proc").glob("[0-9]*/fd") for link in _links(process))
    return path in links


def _links(folder: Path) -> list[str]:
    if folder.parent.name == str(os.getpid()):
        return []
    try:
        return [str(link.readlink()) for link in folder.iterdir()]
    except OSError:
        return []


def written(path: Path) -> list[Event]:
    return [parse_event(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_events_of_two_boards_get_one_sequence_and_are_acknowledged(
    start: Start, tmp_path: Path, devices: list[Device]
) -> None:
    ports = [f"--port={device.path}" for device in devices]
    bridge = start(*ports, "--sink", "jsonl:e.jsonl", "--keep", "keep", "--json")
    wait_until(lambda: bridge.log.count("listening") == 2)
    devices[0].send(event(1, boot="x"), event(2, boot="x", kind="end"))
    assert devices[0].acks(2) == [1, 2]
    devices[1].send(event(1, boot="y"))
    devices[1].send(event(1, boot="y"), event(2, boot="y", kind="update"))  # it did not hear the answer
    assert devices[1].acks(3) == [1, 1, 2]
    told = json.loads(bridge.stop())
    events = written(tmp_path / "e.jsonl")
    assert [each.seq for each in events] == [1, 2, 3, 4]
    assert [each.event_id for each in events] == ["pump-x-1", "pump-x-1", "pump-y-1", "pump-y-1"]
    second = f"{Path(devices[1].path).name}.pump"
    assert [each.stream for each in events] == ["pump", "pump", second, second]
    assert [(port["events"], port["duplicates"], port["missing"]) for port in told["ports"]] == [
        (2, 0, 0),
        (2, 1, 0),
    ]
    assert told["sinks"][0]["waiting"] == 0


def test_a_board_that_is_pulled_out_and_plugged_in_again_goes_on(start: Start, tmp_path: Path) -> None:
    """Its device file vanishes and comes back as another one, as USB serial ports do."""
    folder = tmp_path / "dev"
    folder.mkdir()
    bridge = start(f"--port={folder}/tty*", "--sink", "jsonl:e.jsonl", "--keep", "keep")
    for turn in range(3):
        device = Device()
        (folder / "ttyACM0").symlink_to(device.path)
        device.send_until_acknowledged(event(2 * turn + 1, number=turn))
        device.send_until_acknowledged(event(2 * turn + 2, number=turn, kind="end"))
        (folder / "ttyACM0").unlink()
        device.close()
        wait_until(lambda device=device: not is_open(device.path))  # type: ignore[misc]
    bridge.stop()
    assert [each.seq for each in written(tmp_path / "e.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_killed_at_any_moment_it_loses_nothing_and_repeats_no_number(
    start: Start, tmp_path: Path, devices: list[Device]
) -> None:
    sent = [event(seq, number=(seq + 1) // 2, kind="new" if seq % 2 else "end") for seq in range(1, 81)]
    bridge = start(f"--port={devices[0].path}", "--sink", "jsonl:e.jsonl", "--keep", "keep")
    rng = random.Random(3)
    for each in sent:
        if each.seq % 20 == 0:
            devices[0].send(each)
            time.sleep(rng.uniform(0, 0.1))
            bridge.kill()
            bridge.start()
        devices[0].send_until_acknowledged(each)
    wait_until(lambda: is_open(devices[0].path))  # the last start is done
    bridge.stop()
    events = list({each.seq: each for each in written(tmp_path / "e.jsonl")}.values())
    assert [(each.event_id, each.kind) for each in events] == [(each.event_id, each.kind) for each in sent]
    assert [each.seq for each in events] == list(range(1, 81))


@pytest.mark.parametrize("kind", ["change", "loss"])
def test_a_noisy_line_between_a_station_and_a_bridge_loses_and_invents_nothing(
    start: Start, tmp_path: Path, kind: str
) -> None:
    pytest.importorskip("openvino")
    make_series_bundle(tmp_path / "b.edgead")
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 0.3, (1300, 2)).astype(np.float32)
    for begin in range(100, 1300, 200):
        rows[begin : begin + 20] *= 9
    np.save(tmp_path / "x.npy", rows)
    np.save(tmp_path / "quiet.npy", rows[:8])
    near, far = pty.openpty()
    tty.setraw(far)
    device_end = os.ttyname(far)
    with noisy(near, kind, 11) as bridge_end:
        bridge = Process(
            tmp_path, f"--port={bridge_end}", "--sink", "jsonl:e.jsonl", "--keep", "gateway", "--json"
        )
        wait_until(lambda: "listening" in bridge.log)
        sink = f"serial:{device_end}?format=link&ack=true&ack_timeout_s=0.3"
        command = [
            sys.executable, "-m", "edge_ad", "run", "b.edgead", "--source", "series:x.npy", "--keep", "keep",
            "--stream", "pump", "--sink", sink, "--sink", "jsonl:truth.jsonl", "--release", "3",
        ]  # fmt: skip
        for turn in range(20):
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
            if len(written(tmp_path / "e.jsonl")) >= len(written(tmp_path / "truth.jsonl")):
                break
            if turn == 0:  # at its end it waits for seconds only; what is left goes out in the next run
                command[command.index("series:x.npy")], command[command.index("pump")] = (
                    "series:quiet.npy",
                    "quiet",
                )
        told = json.loads(bridge.stop())
    os.close(near)
    os.close(far)
    truth = {each.seq: each for each in written(tmp_path / "truth.jsonl")}
    came = written(tmp_path / "e.jsonl")
    assert len(truth) >= 12
    facts = [(each.event_id, each.kind, each.score, each.sample) for each in came]
    assert facts == [(each.event_id, each.kind, each.score, each.sample) for each in truth.values()]
    assert told["ports"][0]["rejected"] > 0


def test_over_mqtt_a_board_is_seen_to_come_go_and_start_anew(
    start: Start, tmp_path: Path, devices: list[Device]
) -> None:
    broker = Mosquitto(tmp_path, persistence=True)  # for who is away for a while
    broker.start()
    subscriber = Subscriber(broker.port)
    link = tmp_path / "ttyACM0"
    link.symlink_to(devices[0].path)
    sink = f"mqtt://127.0.0.1:{broker.port}/hall?discovery=homeassistant"
    bridge = start(f"--port=press={tmp_path}/ttyACM*", "--sink", sink, "--keep", "keep")
    base = "edge-ad/hall/press.pump"

    def last(topic: str) -> Any:
        found = subscriber.on(f"{base}/{topic}")
        return json.loads(found[-1]) if found and found[-1].startswith("{") else (found or [None])[-1]

    wait_until(lambda: "listening" in bridge.log)
    devices[0].send(event(1))
    wait_until(lambda: subscriber.on(f"{base}/event") and (last("state") or {}).get("anomalous"))
    wait_until(lambda: last("available") == "online")
    broker.stop()
    devices[0].write(encode(Frame(FrameType.LOG, 9, b"watchdog")) + encode(Frame(0x42, 10, b"")))
    wait_until(lambda: "watchdog" in bridge.log and "the board has started" in bridge.log)
    broker.start()
    wait_until(lambda: len(subscriber.on(f"{base}/event")) == 2 and last("state")["anomalous"] is False)
    end = parse_event(subscriber.on(f"{base}/event")[1])
    assert end.kind == "end" and end.historical and end.event_id == "pump-b-1"
    config = json.loads(subscriber.on("homeassistant/device/edge-ad-hall/config")[-1])
    assert list(config["cmps"]) == ["edge-ad-hall-press.pump-anomaly"]
    subscriber.publish(f"{base}/cmd/statistics", "{}")
    wait_until(lambda: last("cmd/statistics/ack"))
    answer = last("cmd/statistics/ack")
    assert answer["ok"] and answer["events"] == 1 and "frames" not in answer
    link.unlink()
    wait_until(lambda: last("available") == "offline")
    bridge.stop()
    subscriber.close()
    broker.stop()


def test_a_real_board_as_port_is_heard_to_start(start: Start, tmp_path: Path) -> None:
    with Emulator(find("posix"), state=tmp_path / "board") as board:
        bridge = start(f"--port={board.url}", "--sink", "jsonl:e.jsonl")
        wait_until(lambda: "listening" in bridge.log)
        time.sleep(0.5)
        bridge.stop()
    assert "0 events" in bridge.log and written(tmp_path / "e.jsonl") == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Missing option '--port'"),
        (["--port", "x y=/dev/null"], 2, "is no port"),
        (["--port", "/dev/null", "--sink", "carrier:pigeon"], 1, "unknown kind of sink"),
        (["--port", "/dev/null", "--keep", "/proc/nowhere"], 1, "cannot be used"),
    ],
)
def test_what_is_wrong_is_one_line(
    start: Start, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_ad", "bridge", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code and message in done.stderr and "Traceback" not in done.stderr
