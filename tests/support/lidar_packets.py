"""Packets of LiDARs for tests, made from known ranges, and the captures that hold them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

VLP16_COLUMNS = 1800  # of a turn, 0.2 degrees each
VLP16_ELEVATIONS_DEG = np.array([-15, 1, -13, 3, -11, 5, -9, 7, -7, 9, -5, 11, -3, 13, -1, 15])  # by laser
VLP16_RINGS = np.argsort(np.argsort(-VLP16_ELEVATIONS_DEG))  # of each laser, 0 the highest
PACKET_US = 1327
_PER_PACKET = 24  # columns
EPOCH_S = 1_700_000_000


def vlp16_turns(
    ranges_m: np.ndarray, *, turns: int = 1, first_deg: float = 180.0, intensity: int = 100, product: int = 0x22
) -> list[bytes]:
    """Packets of a VLP-16 that sees the same in each turn.

    ranges_m: (1800, 16), by azimuth (clockwise from straight ahead) and by laser; 0 is no echo. first_deg: azimuth of
    the first column.
    """
    first = round(first_deg / 0.2)
    columns = (first + np.arange(turns * VLP16_COLUMNS)) % VLP16_COLUMNS
    packets = []
    for number, start in enumerate(range(0, len(columns), _PER_PACKET)):
        chosen = columns[start : start + _PER_PACKET]
        if len(chosen) < _PER_PACKET:
            break
        packets.append(_vlp16(ranges_m, chosen, number * PACKET_US, intensity, product))
    return packets


def _vlp16(ranges_m: np.ndarray, columns: np.ndarray, time_us: int, intensity: int, product: int) -> bytes:
    blocks = b""
    for first in columns[::2]:
        echoes = np.zeros(32, [("distance", "<u2"), ("intensity", "u1")])
        both = ranges_m[[first, (first + 1) % VLP16_COLUMNS]]
        echoes["distance"] = np.rint(both.reshape(-1) / 0.002)
        echoes["intensity"] = intensity
        blocks += struct.pack("<HH", 0xEEFF, int(first) * 20) + echoes.tobytes()
    return blocks + struct.pack("<IBB", time_us % 3_600_000_000, 0x37, product)


def wall(distance_m: float = 10.0) -> np.ndarray:
    """Ranges (1800, 16) in a round room."""
    return np.full((VLP16_COLUMNS, 16), distance_m)


def rooms(count: int) -> list[np.ndarray]:
    """Ranges of so many round rooms, each a metre wider than the one before: a turn tells which it is of."""
    return [wall(5.0 + i) for i in range(count)]


def drive(scenes: Sequence[np.ndarray], *, first_deg: float = 180.0) -> list[bytes]:
    """Packets of a VLP-16 that sees another scene in each turn, without a seam in between."""
    columns = np.concatenate(scenes)
    first = round(first_deg / 0.2)
    packets = []
    for number, start in enumerate(range(0, len(columns) - _PER_PACKET + 1, _PER_PACKET)):
        turned = np.roll(columns, -start, axis=0)[:_PER_PACKET]
        azimuths = (first + start + np.arange(_PER_PACKET)) % VLP16_COLUMNS
        scene = np.zeros((VLP16_COLUMNS, 16))
        scene[azimuths] = turned
        packets.append(_vlp16(scene, azimuths, number * PACKET_US, 100, 0x22))
    return packets


# Captures


def pcap(
    records: Iterable[tuple[int, bytes]], *, order: str = "<", nanoseconds: bool = False, link: int = 1
) -> bytes:
    """A classic pcap file. records: time in nanoseconds since 1970, and frame."""
    magic, unit = (0xA1B23C4D, 1) if nanoseconds else (0xA1B2C3D4, 1000)
    parts = [struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 262144, link)]
    for ts_ns, frame in records:
        seconds, rest = divmod(ts_ns, 1_000_000_000)
        parts += [struct.pack(f"{order}IIII", seconds, rest // unit, len(frame), len(frame)), frame]
    return b"".join(parts)


def at_pace(frames: Iterable[bytes], *, step_us: int = PACKET_US) -> list[tuple[int, bytes]]:
    """Frames as records, `step_us` apart."""
    return [(EPOCH_S * 1_000_000_000 + i * step_us * 1000, frame) for i, frame in enumerate(frames)]


def udp(payload: bytes, port: int = 2368) -> bytes:
    """A UDP segment without a checksum, as IPv4 allows."""
    return struct.pack(">HHHH", 2368, port, 8 + len(payload), 0) + payload


def ipv4(segment: bytes, *, more: bool = False, start: int = 0, identifier: int = 1) -> bytes:
    """An IPv4 packet. more, start: of a fragment, `start` in bytes."""
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), identifier & 0xFFFF, (0x2000 if more else 0) | start // 8, 64, 17,
        0, bytes([192, 168, 1, 201]), bytes([192, 168, 1, 77]),
    )  # fmt: skip
    return header + segment


def ipv6(segment: bytes) -> bytes:
    """An IPv6 packet."""
    return struct.pack(">IHBB", 6 << 28, len(segment), 17, 64) + bytes(32) + segment


def fragments(segment: bytes, size: int = 1480, identifier: int = 1) -> list[bytes]:
    """IPv4 packets of at most `size` bytes of the segment each."""
    starts = range(0, len(segment), size)
    return [
        ipv4(segment[s : s + size], more=s + size < len(segment), start=s, identifier=identifier) for s in starts
    ]


def ethernet(packet: bytes, *, vlans: int = 0) -> bytes:
    """An Ethernet frame, padded at the end as short frames are."""
    kind = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
    return bytes(12) + b"\x81\x00\x00\x07" * vlans + kind + packet + bytes(max(0, 46 - len(packet)))


def cooked(packet: bytes) -> bytes:
    """A frame of Linux' cooked mode, version 1."""
    return bytes(14) + b"\x08\x00" + packet


def cooked_2(packet: bytes) -> bytes:
    """A frame of Linux' cooked mode, version 2."""
    return b"\x08\x00" + bytes(18) + packet


def write_pcap(path: Path, packets: Iterable[bytes], port: int = 2368) -> Path:
    """A capture of UDP packets on Ethernet, at a VLP-16's pace."""
    path.write_bytes(pcap(at_pace(ethernet(ipv4(udp(packet, port))) for packet in packets)))
    return path
