"""An Ouster sensor, live and captured: packets made by its own SDK come back as the points that the SDK gives."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lidar_packets import (
    Sender,
    at_pace,
    ethernet,
    fragments,
    free_port,
    ipv4,
    ouster_frame,
    ouster_sensor,
    pcap,
    scan_input,
    udp,
)

from edge_ad.errors import SourceError
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.scan_rings import count_rings
from edge_ad.runtime.scans import Points
from edge_ad.runtime.sources.base import Source
from edge_ad.runtime.sources.lidar import PcapReplay, open_lidar

core = pytest.importorskip("ouster.sdk.core", reason="ouster-sdk is not installed")

RANGES = np.random.default_rng(0).integers(1000, 90_000, (64, 512)).astype(np.uint32)


def room(metres: float) -> np.ndarray:
    return np.full((64, 512), metres * 1000, np.uint32)


def saved(info: Any, folder: Path, **changes: Any) -> Path:
    """The sensor's metadata as a file."""
    path = folder / "metadata.json"
    path.write_text(json.dumps(json.loads(info.to_json_string()) | changes))
    return path


def capture(path: Path, packets: list[bytes], port: int = 7502) -> Path:
    """As it is captured on Ethernet: each packet in fragments."""
    frames = [
        ethernet(piece)
        for number, packet in enumerate(packets)
        for piece in fragments(udp(packet, port), identifier=number)
    ]
    path.write_bytes(pcap(at_pace(frames, step_us=100)))
    return path


def replay(path: Path, metadata: Path, options: str = "") -> PcapReplay:
    source = open_lidar(f"pcap:{path}?metadata={metadata}{options}", scan_input(), stall_s=1)
    assert isinstance(source, PcapReplay)
    return source


def in_order(points: Points) -> Points:
    return points[np.lexsort(points.T)]


def ranges_of(samples: list[Sample]) -> list[list[float]]:
    return [sorted(set(np.linalg.norm(s.data[:, :3], axis=1).round().tolist())) for s in samples]


def test_the_points_are_those_of_the_sensors_own_sdk(tmp_path: Path) -> None:
    info = ouster_sensor()
    ranges = RANGES.copy()
    ranges[:, 100:120] = 0  # no echoes
    path = capture(tmp_path / "x.pcap", ouster_frame(info, 7, ranges))
    (sample,) = replay(path, saved(info, tmp_path))
    xyz = core.XYZLut(info, False)(ranges)[ranges > 0].astype(np.float32)
    expected = np.column_stack((xyz, np.full(len(xyz), 51 / 255, np.float32)))
    assert sample.data.dtype == np.float32
    np.testing.assert_array_equal(in_order(sample.data), in_order(expected))
    assert sample.name == "x.pcap#0"


def test_points_stand_ring_by_ring_from_the_highest(tmp_path: Path) -> None:
    info = ouster_sensor()
    path = capture(tmp_path / "x.pcap", ouster_frame(info, 7, room(20)))
    (sample,) = replay(path, saved(info, tmp_path))
    assert count_rings(sample.data) == 64
    elevation = np.degrees(np.arctan2(sample.data[:, 2], np.linalg.norm(sample.data[:, :2], axis=1)))
    rows = elevation.reshape(64, 512).mean(axis=1)
    np.testing.assert_allclose(rows, info.beam_altitude_angles, atol=0.3)


def test_both_returns_are_points(tmp_path: Path) -> None:
    info = ouster_sensor(dual=True)
    second = np.where(np.arange(512) < 100, 30_000, 0) * np.ones((64, 1), np.uint32)
    path = capture(tmp_path / "x.pcap", ouster_frame(info, 7, room(20), second))
    (sample,) = replay(path, saved(info, tmp_path), "&intensity_max=1")
    distance = np.linalg.norm(sample.data[:, :3], axis=1).round()
    assert np.array_equal(sample.data[:, 3], np.where(distance == 20, 51, 102))
    assert (distance == 30).sum() == 6400 and len(distance) == 64 * 612


def test_a_sensor_with_a_window_of_columns_gives_whole_frames(tmp_path: Path) -> None:
    info = ouster_sensor()
    info.format.column_window = (128, 383)
    packets = [p for n in range(3) for p in ouster_frame(info, n, room(10 + n))]
    columns = core.ColHeader.MEASUREMENT_ID
    format_ = core.PacketFormat(info)
    inside = [
        p for p in packets if 128 <= format_.packet_header(columns, np.frombuffer(p, np.uint8))[0] <= 383
    ]
    assert len(inside) == 3 * 16
    source = replay(capture(tmp_path / "x.pcap", inside), saved(info, tmp_path))
    assert ranges_of(list(source)) == [[10.0], [11.0], [12.0]] and source.lost == 0


def test_lost_packets_are_counted_and_holed_frames_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    info = ouster_sensor()
    packets = [p for n in range(6) for p in ouster_frame(info, n, room(10 + n))]  # 32 a frame
    lost = {40, 41, *range(4 * 32, 5 * 32)}  # two of frame 1, and all of frame 4
    path = capture(tmp_path / "x.pcap", [p for i, p in enumerate(packets) if i not in lost])
    source = replay(path, saved(info, tmp_path))
    samples = list(source)
    assert ranges_of(samples) == [[10.0], [12.0], [13.0], [15.0]]
    assert [s.gap for s in samples] == [False, True, False, True]
    assert (source.unreadable, source.lost) == (1, 34)
    assert any("less than 98 % arrived" in line for line in caplog.messages)


def test_a_packet_that_comes_late_or_twice_changes_nothing(tmp_path: Path) -> None:
    info = ouster_sensor()
    packets = [p for n in range(3) for p in ouster_frame(info, n, room(10 + n))]
    mixed = [
        *packets[:20],
        packets[21],
        packets[20],
        packets[21],
        *packets[22:34],
        packets[31],
        *packets[34:],
    ]
    source = replay(capture(tmp_path / "x.pcap", mixed), saved(info, tmp_path))
    samples = list(source)
    assert ranges_of(samples) == [[10.0], [11.0], [12.0]]
    assert [len(s.data) for s in samples] == [64 * 512] * 3 and (source.unreadable, source.lost) == (0, 0)


def test_frame_numbers_may_begin_anew(tmp_path: Path) -> None:
    info = ouster_sensor()
    packets = [p for n in (65534, 65535, 0, 1) for p in ouster_frame(info, n, room(10 + n % 7))]
    source = replay(capture(tmp_path / "x.pcap", packets), saved(info, tmp_path))
    assert len(list(source)) == 4 and source.lost == 0


def test_a_replay_that_goes_on_behind_a_scan_gives_the_identical_rest(tmp_path: Path) -> None:
    info = ouster_sensor()
    packets = [p for n in range(5) for p in ouster_frame(info, n, room(10 + n))]
    path = capture(tmp_path / "x.pcap", packets[:31] + packets[32:70] + packets[72:])
    metadata = saved(info, tmp_path)
    samples = list(replay(path, metadata, "&min_share=0.95"))
    assert len(samples) >= 4
    for number, sample in enumerate(samples):
        source = replay(path, metadata, "&min_share=0.95")
        assert sample.position is not None
        source.resume(sample.position)
        rest = list(source)
        assert [(s.name, s.ts, s.gap, s.position) for s in rest] == [
            (s.name, s.ts, s.gap, s.position) for s in samples[number + 1 :]
        ]
        assert all(np.array_equal(a.data, b.data) for a, b in zip(rest, samples[number + 1 :], strict=True))


@pytest.mark.parametrize(
    ("serial", "size", "message"),
    [
        (992_000_002, None, "they are of the sensor 992000002, the metadata is of 992000001"),
        (992_000_001, 700, "700 bytes instead of 12544: take the metadata of the sensor as it is set now"),
    ],
)
def test_packets_of_another_sensor_or_setting_are_told_as_such(
    tmp_path: Path, serial: int, size: int | None, message: str
) -> None:
    packets = [p[:size] for p in ouster_frame(ouster_sensor(serial), 7, room(20))]
    path = capture(tmp_path / "x.pcap", packets)
    with pytest.raises(SourceError, match=f"none of 32 packets to port 7502 is of the OS-1-64: {message}"):
        list(replay(path, saved(ouster_sensor(), tmp_path)))


def test_more_columns_a_turn_than_the_metadata_says_are_told(tmp_path: Path) -> None:
    info = ouster_sensor()
    packet = bytearray(ouster_frame(info, 7, room(20))[-1])
    columns = 512 + np.arange(16)
    format_ = core.PacketFormat(info)
    made = core.LidarPacket(format_)
    made.buf[:] = np.frombuffer(bytes(packet), np.uint8)
    for i, column in enumerate(columns):
        format_.set_col_measurement_id(made, i, int(column))
    path = capture(tmp_path / "x.pcap", [bytes(made.buf)])
    with pytest.raises(SourceError, match="columns 512 to 527, the metadata has 512 a turn"):
        list(replay(path, saved(info, tmp_path)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "is no metadata of an Ouster sensor .*Missing.*; save it anew"),
        ("x,y,z", "is no metadata of an Ouster sensor"),
        (None, "cannot be read as metadata .No such file"),
    ],
)
def test_metadata_that_cannot_be_used_is_an_error(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "m.json").write_text(content)
    with pytest.raises(SourceError, match=rf"m\.json: {message}") as caught:
        open_lidar(f"ouster://:7502?metadata={tmp_path}/m.json", scan_input(), stall_s=1)
    assert "\n" not in str(caught.value)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Any, Source, Sender]]:
    info = ouster_sensor()
    port = free_port()
    source = open_lidar(
        f"ouster://127.0.0.1:{port}?metadata={saved(info, tmp_path)}", scan_input(), stall_s=20
    )
    sender = Sender(port)
    yield info, source, sender
    source.close()
    sender.close()


def test_a_live_sensor_gives_each_frame_as_its_last_packet_is_there(
    live: tuple[Any, Source, Sender], caplog: pytest.LogCaptureFixture
) -> None:
    info, source, sender = live
    samples = []
    iterator = iter(source)
    imu = bytes(core.PacketFormat(info).imu_packet_size)
    for number in range(3):
        packets = ouster_frame(info, number, room(10 + number))
        with caplog.at_level(logging.WARNING):
            sender.send([*packets[:10], imu, b"noise", *packets[10:]])
        samples.append(next(iterator))
    assert ranges_of(samples) == [[10.0], [11.0], [12.0]]
    assert (source.acquired, source.dropped, source.unreadable) == (3, 0, 3)
    assert len(caplog.messages) == 1


def test_one_datagram_is_one_packet_however_large(tmp_path: Path) -> None:
    info = ouster_sensor()
    packets = ouster_frame(info, 7, room(20))
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(at_pace(ethernet(ipv4(udp(p, 7502))) for p in packets)))  # jumbo frames
    assert ranges_of(list(replay(path, saved(info, tmp_path)))) == [[20.0]]
