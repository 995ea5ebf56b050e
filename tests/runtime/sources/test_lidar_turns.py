"""Turns of a LiDAR: what is lost, what is an outage, where a turn ends, for every model."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from lidar_packets import (
    at_pace,
    drive,
    ethernet,
    ipv4,
    pcap,
    rooms,
    udp,
    wall,
    write_pcap,
)
from pcap_replays import in_order, ranges_of, replay

from edge_ad.errors import SourceError
from edge_ad.runtime.sources.lidar.velodyne_packets import VelodyneSplitter

decoder = pytest.importorskip("velodyne_decoder", reason="velodyne-decoder is not installed")


# Loss, outages and fields of view


def test_turns_before_and_behind_an_outage_are_not_made_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    packets = drive(rooms(12))
    kept = [
        *range(110),
        *range(110 + 9 * 75, 900),
    ]  # nine turns are missing, the azimuths go on without a gap
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap([at_pace(ethernet(ipv4(udp(p))) for p in packets)[i] for i in kept]))
    source = replay(path)
    samples = list(source)
    assert ranges_of(samples) == [[5.0], [16.0]]
    assert [s.gap for s in samples] == [False, True]
    assert (source.unreadable, source.lost) == (1, 9 * 75)


def test_a_clock_that_jumps_when_the_sensor_finds_gps_is_no_outage(tmp_path: Path) -> None:
    packets = [bytearray(packet) for packet in drive(rooms(3))]
    for packet in packets[100:]:
        struct.pack_into("<I", packet, 1200, struct.unpack_from("<I", packet, 1200)[0] + 1_700_000_000)
    source = replay(write_pcap(tmp_path / "x.pcap", [bytes(p) for p in packets]))
    assert ranges_of(list(source)) == [[5.0], [6.0], [7.0]] and source.lost == 0


def test_a_field_of_view_is_a_whole_turn_when_it_is_named(tmp_path: Path) -> None:
    packets = drive(rooms(5), first_deg=90.0)
    ahead = [p for p in packets if not 9000 <= struct.unpack_from("<H", p, 2)[0] < 27000]  # 270 to 90 degrees
    path = write_pcap(tmp_path / "x.pcap", ahead)
    with pytest.raises(SourceError, match=r"no whole revolution .*were not whole; .*fov=START-END"):
        list(replay(path))
    source = replay(path, "model=VLP16&fov=270-90")
    samples = list(source)
    assert ranges_of(samples) == [[5.0], [6.0], [7.0], [8.0], [9.0]]
    assert (source.unreadable, source.lost) == (0, 0)
    assert all(s.data[:, 0].min() > -0.6 for s in samples)
    less = write_pcap(tmp_path / "less.pcap", ahead[:50] + ahead[52:])
    source = replay(less, "model=VLP16&fov=270-90")
    assert ranges_of(list(source)) == [[5.0], [7.0], [8.0], [9.0]] and (source.unreadable, source.lost) == (
        1,
        2,
    )


def _blocks(
    azimuths: list[int], flags: list[int], product: int, time_us: int, echoes: bytes = b"\x10\x27\x01" * 384,
    mode: int = 0x37,
) -> bytes:  # fmt: skip
    body = b"".join(
        struct.pack("<HH", flag, azimuth % 36000) + echoes[96 * i : 96 * i + 96]
        for i, (flag, azimuth) in enumerate(zip(flags, azimuths, strict=True))
    )
    return body + struct.pack("<IBB", time_us, mode, product)


EE, DD, CC, BB, EMPTY = 0xEEFF, 0xDDFF, 0xCCFF, 0xBBFF, 0xFFFF
# model: product, flags of the blocks, column of each, hundredths of a degree a column, microseconds a packet
SENSORS = {
    "VLP16": (0x22, [EE] * 12, range(12), 40, 1327),
    "VLP16 dual": (0x22, [EE] * 12, [i // 2 for i in range(12)], 40, 664),
    "HDL32E": (0x21, [EE] * 12, range(12), 16, 553),
    "VLP32C": (0x28, [EE] * 12, range(12), 20, 664),
    "HDL64E_S3": (0x5A, [EE, DD] * 6, [i // 2 for i in range(12)], 17, 346),
    "HDL64E_S3 dual": (0x5A, [EE, DD] * 6, [i // 4 for i in range(12)], 17, 173),
    "VLS128": (0xA1, [EE, DD, CC, BB] * 3, [i // 4 for i in range(12)], 20, 160),
    "VLS128 dual": (0xA1, [EE, EE, DD, DD, CC, CC, BB, BB] + [EMPTY] * 4, [0] * 12, 20, 53),
}


@pytest.mark.parametrize("name", SENSORS)
@pytest.mark.parametrize("missing", [0, 1, 3])
def test_turns_of_every_model_are_found_and_their_losses_counted(name: str, missing: int) -> None:
    product, flags, columns, step, period_us = SENSORS[name]
    a_packet = step * (max(columns) + 1)
    splitter = VelodyneSplitter(name.split()[0])
    turns, pushed = [], 0
    n_packets = 5 * 36000 // a_packet
    hole = range(n_packets // 2, n_packets // 2 + missing)
    for number in range(n_packets):
        azimuths = [12345 + number * a_packet + column * step for column in columns]
        packet = _blocks(azimuths, flags, product, number * period_us)
        assert splitter.problem(packet) is None
        if number in hole:
            continue
        pushed += 1
        turn = splitter.push(packet, number * period_us * 1000)
        if turn is not None:
            turns.append(turn)
    assert len(turns) == 5 and not turns[0].begun and all(turn.begun for turn in turns[1:])
    assert sum(turn.lost for turn in turns) == missing
    whole = [turn.share for turn in turns[1:] if turn.lost == 0]
    assert set(whole) == {1.0} and len(whole) == (4 if missing == 0 else 3)
    if missing:
        (holed,) = [turn.share for turn in turns if turn.lost]
        assert holed == pytest.approx(1 - missing * a_packet / 36000, abs=1e-4)
    per_turn = [len(turn.packets) for turn in turns[1:] if turn.lost == 0]
    assert max(per_turn) - 36000 / a_packet < 3.1  # one to prime the decoder, one shared at either end


@pytest.mark.parametrize("name", SENSORS)
def test_no_point_is_dropped_or_comes_twice_whatever_the_model(tmp_path: Path, name: str) -> None:
    product, flags, columns, step, period_us = SENSORS[name]
    model, calibration, options = name.split()[0], None, ""
    if model.startswith("HDL64"):
        calibration = decoder.get_bundled_calibration("HDL-64E_S3-VeloView.yml")
        calibration.write(str(tmp_path / "c.yml"))
        options = f"&calibration={tmp_path}/c.yml"
    rng = np.random.default_rng(0)
    a_packet = step * (max(columns) + 1)
    packets, expected = [], decoder.PacketVector()
    for number in range(4 * 36000 // a_packet):
        echoes = np.zeros((12, 32), [("distance", "<u2"), ("intensity", "u1")])
        echoes["distance"] = rng.integers(50, 65000, (12, 32))  # also nearer and farther than is usual
        azimuths = np.array([12345 + number * a_packet + column * step for column in columns])
        rest = list(azimuths), flags, product, number * period_us
        mode = 0x39 if "dual" in name else 0x37
        packets.append(_blocks(*rest, echoes.tobytes(), mode))
        echoes["distance"][(azimuths < 18000) | (azimuths >= 18000 + 3 * 36000)] = (
            0  # not in one of the whole turns
        )
        expected.append(decoder.VelodynePacket(0.0, _blocks(*rest, echoes.tobytes(), mode)))
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(at_pace((ethernet(ipv4(udp(p))) for p in packets), step_us=period_us)))
    scans = [sample.data[:, :3] for sample in replay(path, f"model={model}{options}")]

    config = decoder.Config(
        model=decoder.Model.__members__[model], calibration=calibration, min_range=0, max_range=1000
    )
    everything = decoder.ScanDecoder(config).decode(expected)[1]
    assert len(scans) == 3 and max(map(len, scans)) < 1.01 * min(map(len, scans))
    np.testing.assert_array_equal(in_order(np.concatenate(scans)), in_order(everything[:, :3]))


def test_a_sensor_that_stands_still_does_not_fill_the_memory() -> None:
    splitter = VelodyneSplitter("VLP16")
    still = _blocks([12345] * 12, [EE] * 12, 0x22, 0)
    for number in range(50_000):
        assert splitter.push(still, number) is None
    last = splitter.finish()
    assert last is not None and len(last.packets) <= 20_000 and last.share < 0.1


def test_a_model_is_told_from_the_others_by_its_packets() -> None:
    for name, (product, flags, columns, step, _) in SENSORS.items():
        packet = _blocks([column * step for column in columns], flags, product, 0)
        for other in {key.split()[0] for key in SENSORS}:
            problem = VelodyneSplitter(other).problem(packet)
            assert (problem is None) == (other == name.split()[0]), (name, other, problem)


def test_a_round_room_is_round(tmp_path: Path) -> None:
    """The sensor's own frame: the distance from the origin is what the sensor measured."""
    (sample, *_) = replay(write_pcap(tmp_path / "x.pcap", drive([wall(12.0)] * 2)))
    np.testing.assert_allclose(np.linalg.norm(sample.data[:, :3], axis=1), 12.0, atol=0.005)
