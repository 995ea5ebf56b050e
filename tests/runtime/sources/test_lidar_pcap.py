"""Captures of a LiDAR's packets: each whole turn is played, whatever network it was captured on."""

from __future__ import annotations

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
    udp,
    write_pcap,
)
from pcap_replays import ranges_of, replay, same

from edge_ad.errors import SourceError
from edge_ad.runtime.sources.lidar.pcap import PcapFile

decoder = pytest.importorskip("velodyne_decoder", reason="velodyne-decoder is not installed")


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
