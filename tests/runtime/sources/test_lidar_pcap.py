"""Captures of a LiDAR's packets: each whole turn is played, whatever network it was captured on, and what is missing
is said."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from lidar_packets import (
    EPOCH_S,
    PACKET_US,
    at_pace,
    cooked,
    cooked_2,
    drive,
    ethernet,
    fragments,
    ipv4,
    ipv6,
    pcap,
    rooms,
    scan_input,
    udp,
    wall,
    write_pcap,
)

from edge_ad.errors import SourceError
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.sources.lidar import PcapReplay, open_lidar
from edge_ad.runtime.sources.lidar.pcap import PcapFile
from edge_ad.runtime.sources.lidar.velodyne_packets import VelodyneSplitter

decoder = pytest.importorskip("velodyne_decoder", reason="velodyne-decoder is not installed")


def replay(path: Path, options: str = "model=VLP16") -> PcapReplay:
    source = open_lidar(f"pcap:{path}?{options}", scan_input(), stall_s=1)
    assert isinstance(source, PcapReplay)
    return source


def ranges_of(samples: list[Sample]) -> list[list[float]]:
    return [sorted(set(np.linalg.norm(s.data[:, :3], axis=1).round(1).tolist())) for s in samples]


def same(first: list[Sample], second: list[Sample]) -> bool:
    return len(first) == len(second) and all(
        (a.name, a.ts, a.position, a.gap) == (b.name, b.ts, b.position, b.gap)
        and np.array_equal(a.data, b.data)
        for a, b in zip(first, second, strict=True)
    )


def in_order(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(points.T)]


def test_every_turn_comes_with_the_captures_time(tmp_path: Path) -> None:
    source = replay(write_pcap(tmp_path / "drive.pcap", drive(rooms(4))))
    samples = list(source)
    assert ranges_of(samples) == [[5.0], [6.0], [7.0], [8.0]]
    assert [s.name for s in samples] == [f"drive.pcap#{i}" for i in range(4)]
    ends_us = [(75 * (i + 1) - 1) * PACKET_US for i in range(4)]  # arrival of the last packet of each turn
    expected = [datetime.fromtimestamp(EPOCH_S + us / 1e6, timezone.utc) for us in ends_us]
    assert [abs((s.ts - t).total_seconds()) < 1e-5 for s, t in zip(samples, expected, strict=True)] == [
        True
    ] * 4
    assert (source.live, source.acquired, source.dropped, source.unreadable, source.lost) == (
        False,
        4,
        0,
        0,
        0,
    )


LINKS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "ethernet": (1, ethernet),
    "vlan": (1, lambda packet: ethernet(packet, vlans=1)),
    "two vlans": (1, lambda packet: ethernet(packet, vlans=2)),
    "raw": (101, lambda packet: packet),
    "raw ipv4": (228, lambda packet: packet),
    "cooked": (113, cooked),
    "cooked 2": (276, cooked_2),
    "loopback": (0, lambda packet: b"\x02\0\0\0" + packet),
}


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_captures_of_any_byte_order_precision_and_network_are_read(
    tmp_path: Path, link: str, order: str, nanoseconds: bool
) -> None:
    number, frame = LINKS[link]
    packets = drive(rooms(2))
    records = at_pace([frame(ipv4(udp(packet))) for packet in packets])
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(records, order=order, nanoseconds=nanoseconds, link=number))
    with PcapFile(path) as file:
        datagrams = list(file.datagrams())
    assert [d.data for d in datagrams] == packets and {d.port for d in datagrams} == {2368}
    assert [d.ts_ns for d in datagrams] == [ts_ns for ts_ns, _ in records]
    assert (file.loss, file.incomplete) == (None, 0)


def test_other_traffic_and_ipv6_are_told_apart(tmp_path: Path) -> None:
    packets = drive(rooms(2))
    arp, tcp = bytes(12) + b"\x08\x06" + bytes(46), bytearray(ipv4(udp(packets[0])))
    tcp[9] = 6
    frames = [arp, ethernet(bytes(tcp)), ethernet(ipv4(udp(b"x" * 512, 8308)))]
    frames += [f for p in packets for f in (ethernet(ipv6(udp(p))), ethernet(ipv4(udp(p, 2369))))]
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(at_pace(frames)))
    samples = list(replay(path))
    assert ranges_of(samples) == [[5.0], [6.0]]
    assert same(list(replay(path, "model=VLP16&port=2369"))[:0], [])
    assert ranges_of(list(replay(path, "model=VLP16&port=2369"))) == [[5.0], [6.0]]


@pytest.mark.parametrize("in_order", [True, False])
def test_fragments_are_put_together_in_any_order(tmp_path: Path, in_order: bool) -> None:
    rng = np.random.default_rng(0)
    sent = [rng.bytes(24_896) for _ in range(4)]
    frames = []
    for a, b in ((0, 1), (2, 3)):  # two datagrams at a time, their pieces mixed
        pieces = fragments(udp(sent[a], 7502), identifier=a) + fragments(udp(sent[b], 7502), identifier=b)
        order = range(len(pieces)) if in_order else rng.permutation(len(pieces))
        frames += [ethernet(pieces[i]) for i in order]
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(at_pace(frames)))
    with PcapFile(path) as file:
        found = [d.data for d in file.datagrams()]
    assert sorted(found) == sorted(sent) and file.incomplete == 0


def test_a_datagram_that_lacks_a_fragment_is_counted_and_memory_stays_bounded(tmp_path: Path) -> None:
    frames = [ethernet(fragments(udp(bytes(5000)), identifier=i)[1]) for i in range(300)]
    frames += [ethernet(piece) for piece in fragments(udp(b"whole" * 1000), identifier=1000)]
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(at_pace(frames)))
    with PcapFile(path) as file:
        assert [d.data[:5] for d in file.datagrams()] == [b"whole"]
        assert file.incomplete == 300


def test_packets_that_were_captured_in_part_are_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [ethernet(ipv4(udp(packet))) for packet in drive(rooms(3))]
    frames[80] = frames[80][:96]  # as with tcpdump -s 96
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(at_pace(frames)))
    source = replay(path)
    assert ranges_of(list(source)) == [[5.0], [6.0], [7.0]]
    assert (source.unreadable, source.lost) == (1, 1)
    assert any("1 datagrams were captured in part only" in line for line in caplog.messages)


@pytest.mark.parametrize("cut", [5, 16, 20, 1000])
def test_of_a_capture_that_ends_early_the_whole_turns_are_played_and_the_loss_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cut: int
) -> None:
    path = write_pcap(tmp_path / "x.pcap", drive(rooms(3)))
    whole = path.read_bytes()
    record = (len(whole) - 24) // 225
    path.write_bytes(whole[: 24 + 200 * record + cut])
    source = replay(path)
    assert ranges_of(list(source)) == [[5.0], [6.0]]
    assert (source.acquired, source.unreadable) == (2, 1 if cut != 0 else 0)
    assert [line for line in caplog.messages if "ends in the midst of packet 201" in line]


def test_a_damaged_record_ends_the_capture_with_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_pcap(tmp_path / "x.pcap", drive(rooms(3)))
    raw = bytearray(path.read_bytes())
    record = (len(raw) - 24) // 225
    start = 24 + 160 * record
    raw[start + 8 : start + 12] = b"\xff\xff\xff\x7f"
    path.write_bytes(bytes(raw))
    source = replay(path)
    assert ranges_of(list(source)) == [[5.0], [6.0]] and source.unreadable == 1
    assert any(f"is damaged at byte {start}, in packet 161" in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no pcap capture; record one: tcpdump"),
        (b"\xd4\xc3\xb2\xa1\x02\x00", "is no pcap capture"),
        (b"x,y,z\n" * 10, "is no pcap capture"),
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "is a pcapng capture; convert it: editcap -F pcap FILE OUT.pcap"),
        (b"\x1f\x8b\x08" + bytes(40), "is compressed; unpack it: gunzip FILE"),
        (pcap([], link=105), "was captured on a network of link type 105; known: Ethernet"),
        (pcap([]), "holds no packet to UDP port 2368; record with"),
    ],
)
def test_a_file_that_is_no_capture_is_an_error_that_says_what_to_do(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "x.pcap").write_bytes(content)
    with pytest.raises(SourceError, match=rf"x\.pcap: {message}"):
        list(replay(tmp_path / "x.pcap"))


def test_a_capture_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nope\.pcap: cannot be read \(No such file"):
        replay(tmp_path / "nope.pcap")


def test_packets_to_another_port_are_named(tmp_path: Path) -> None:
    path = write_pcap(tmp_path / "x.pcap", drive(rooms(1)), port=2369)
    with pytest.raises(
        SourceError, match=r"no packet to UDP port 2368; it has packets to 2369 \(75\): add port"
    ):
        list(replay(path))


def test_a_wrong_model_is_an_error_that_names_the_right_one(tmp_path: Path) -> None:
    path = write_pcap(tmp_path / "x.pcap", drive(rooms(2)))
    with pytest.raises(
        SourceError, match="none of 150 packets to port 2368 is of the VLP32C: they are of VLP16"
    ):
        list(replay(path, "model=VLP32C"))


def test_a_capture_without_a_whole_turn_is_an_error(tmp_path: Path) -> None:
    path = write_pcap(tmp_path / "x.pcap", drive(rooms(1))[:70])
    with pytest.raises(SourceError, match="holds no whole revolution in 70 packets of the VLP16: none ended"):
        list(replay(path))


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
