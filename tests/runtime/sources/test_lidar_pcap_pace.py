"""Captures of a LiDAR's packets: gone on with behind a scan, and played at the pace of their recording."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from lidar_packets import (
    PACKET_US,
    at_pace,
    drive,
    ethernet,
    ipv4,
    pcap,
    rooms,
    udp,
    write_pcap,
)
from pcap_replays import replay, same

from edge_ad.errors import SourceError
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.sources.lidar import PcapReplay

decoder = pytest.importorskip("velodyne_decoder", reason="velodyne-decoder is not installed")


# Going on behind a scan


@pytest.mark.parametrize("first_deg", [180.0, 100.0, 3.2])
@pytest.mark.parametrize("lost", [(), (152, 153, 154), (74, 75), (149, 150, 151)])
def test_a_replay_that_goes_on_behind_a_scan_gives_the_identical_rest(
    tmp_path: Path, first_deg: float, lost: tuple[int, ...]
) -> None:
    packets = [p for i, p in enumerate(drive(rooms(6), first_deg=first_deg)) if i not in lost]
    path = write_pcap(tmp_path / "x.pcap", packets)
    samples = list(replay(path))
    assert len(samples) >= 4
    for number, sample in enumerate(samples):
        source = replay(path)
        assert sample.position is not None
        source.resume(sample.position)
        assert same(list(source), samples[number + 1 :])
        assert source.acquired == len(samples) - number - 1


def test_positions_are_plain_values(tmp_path: Path) -> None:
    (sample, *_) = replay(write_pcap(tmp_path / "x.pcap", drive(rooms(2))))
    assert sample.position is not None
    assert {type(value) for value in sample.position.values()} == {int, str}


@pytest.mark.parametrize(
    "position",
    [
        {},
        {"offset": 24},
        {"file": "y.pcap", "offset": 24, "packet": 0, "scan": 1},
        {"file": "x.pcap", "offset": 25, "packet": 0, "scan": 1},
        {"file": "x.pcap", "offset": 10**9, "packet": 0, "scan": 1},
        {"file": "x.pcap", "offset": -24, "packet": 0, "scan": 1},
        {"file": "x.pcap", "offset": "far", "packet": 0, "scan": 1},
    ],
)
def test_a_position_of_another_capture_is_refused(
    tmp_path: Path, position: dict[str, int | float | str]
) -> None:
    source = replay(write_pcap(tmp_path / "x.pcap", drive(rooms(2))))
    with pytest.raises(SourceError, match=r"x\.pcap: .* is no position in"):
        source.resume(position)


# Pace


class Clock:
    """Time that passes only where something waits for it."""

    def __init__(self) -> None:
        self.now = 50.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def paced(path: Path, clock: Clock) -> PcapReplay:
    sensor = replay(path)._sensor
    return PcapReplay(path, sensor, min_share=0.98, recorded_pace=True, clock=clock, wait=clock.wait)


def test_at_recorded_pace_each_scan_comes_when_its_last_packet_did(tmp_path: Path) -> None:
    clock = Clock()
    moments = []
    for _ in paced(write_pcap(tmp_path / "x.pcap", drive(rooms(4))), clock):
        moments.append(clock.now - 50)
    np.testing.assert_allclose(moments, [(75 * (i + 1) - 1) * PACKET_US / 1e6 for i in range(4)], atol=1e-5)


def test_a_reader_that_is_behind_the_recorded_pace_does_not_wait(tmp_path: Path) -> None:
    clock = Clock()
    for _ in paced(write_pcap(tmp_path / "x.pcap", drive(rooms(5))), clock):
        clock.now += 0.15  # each scan takes longer than a turn
    assert len(clock.waits) == 1


def test_closing_ends_a_wait_for_the_recorded_pace(tmp_path: Path) -> None:
    packets = [ethernet(ipv4(udp(packet))) for packet in drive(rooms(3))]
    records = at_pace(packets)
    records = records[:80] + [(ts_ns + 3600 * 10**9, frame) for ts_ns, frame in records[80:]]  # an hour later
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(records))
    source = replay(path, "model=VLP16&pace=recorded")
    first = threading.Event()
    samples: list[Sample] = []

    def read() -> None:
        for sample in source:
            samples.append(sample)
            first.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert first.wait(20)
    source.close()
    reader.join(20)
    assert not reader.is_alive() and len(samples) == 1
