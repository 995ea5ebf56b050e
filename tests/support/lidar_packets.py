"""Packets of LiDARs for tests, made from known ranges, and the captures that hold them."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.bundle.manifest import InputSpec
from edge_ad.runtime.scan_images import range_image_spec

VLP16_COLUMNS = 1800  # of a turn, 0.2 degrees each
VLP16_ELEVATIONS_DEG = np.array([-15, 1, -13, 3, -11, 5, -9, 7, -7, 9, -5, 11, -3, 13, -1, 15])  # by laser
VLP16_RINGS = np.argsort(np.argsort(-VLP16_ELEVATIONS_DEG))  # of each laser, 0 the highest
PACKET_US = 1327
_PER_PACKET = 24  # columns
EPOCH_S = 1_700_000_000


def wall(distance_m: float = 10.0) -> np.ndarray:
    """Ranges in a round room: (1800, 16), by azimuth (clockwise from straight ahead) and by laser; 0 is no echo."""
    return np.full((VLP16_COLUMNS, 16), distance_m)


def rooms(count: int) -> list[np.ndarray]:
    """Ranges of so many round rooms, each a metre wider than the one before: a scan tells which turns it is of."""
    return [wall(5.0 + i) for i in range(count)]


def drive(scenes: Sequence[np.ndarray], *, first_deg: float = 180.0, **values: int) -> list[bytes]:
    """Packets of a VLP-16 that sees another scene in each turn, turns following each other without a seam.

    first_deg: azimuth of the first column, where also the scenes change. values: of `vlp16_packet`.
    """
    seen = np.concatenate([np.roll(scene, -round(first_deg / 0.2), axis=0) for scene in scenes])
    first = round(first_deg / 0.2)
    starts = range(0, len(seen) - _PER_PACKET + 1, _PER_PACKET)
    return [
        vlp16_packet(seen[start : start + _PER_PACKET], first + start, time_us=number * PACKET_US, **values)
        for number, start in enumerate(starts)
    ]


def vlp16_packet(
    ranges_m: np.ndarray, column: int, *, time_us: int = 0, intensity: int = 100, product: int = 0x22
) -> bytes:
    """One packet of a VLP-16. ranges_m: (24, 16), by column and laser. column: the first one's number in the turn."""
    echoes = np.zeros((12, 32), [("distance", "<u2"), ("intensity", "u1")])
    echoes["distance"] = np.rint(ranges_m.reshape(12, 32) / 0.002)
    echoes["intensity"] = intensity
    blocks = [
        struct.pack("<HH", 0xEEFF, (column + 2 * i) % VLP16_COLUMNS * 20) + echoes[i].tobytes()
        for i in range(12)
    ]
    return b"".join(blocks) + struct.pack("<IBB", time_us % 3_600_000_000, 0x37, product)


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
        ipv4(segment[s : s + size], more=s + size < len(segment), start=s, identifier=identifier)
        for s in starts
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


# Ouster


def ouster_sensor(serial: int = 992_000_001, *, dual: bool = False) -> Any:
    """An OS-1-64 with 512 columns a turn, as its metadata describes it: `ouster.sdk.core.SensorInfo`."""
    from ouster.sdk import core

    info = core.SensorInfo.from_default(core.LidarMode._512x10)
    profiles = core.UDPProfileLidar
    single, both = profiles.RNG19_RFL8_SIG16_NIR16, profiles.RNG19_RFL8_SIG16_NIR16_DUAL
    info.format.udp_profile_lidar = both if dual else single
    info.sn = serial
    info.config.udp_port_lidar, info.config.udp_port_imu = 7502, 7503
    return core.SensorInfo(info.to_json_string())


def ouster_frame(
    info: Any, number: int, ranges_mm: np.ndarray, second_mm: np.ndarray | None = None
) -> list[bytes]:
    """The packets of one frame. ranges_mm: (64, 512), by beam from the top and by column; second_mm: second returns."""
    from ouster.sdk import core

    frame = core.LidarFrame(info)
    frame.frame_id = number
    frame.measurement_id[:] = np.arange(frame.w)
    frame.timestamp[:] = np.arange(1, frame.w + 1)
    frame.status[:] = 1
    frame.packet_timestamp[:] = 1
    frame.field("RANGE")[:] = ranges_mm
    frame.field("REFLECTIVITY")[:] = 51
    if second_mm is not None:
        frame.field("RANGE2")[:] = second_mm
        frame.field("REFLECTIVITY2")[:] = 102
    packets = core.frame_to_packets(frame, core.PacketFormat(info), info.init_id, int(info.sn))
    return [bytes(packet.buf) for packet in packets]


# A live sensor


class Sender:
    """Sends packets to a port of this machine, and waits until they have been read: nothing is lost on the way."""

    def __init__(self, port: int, address: str = "127.0.0.1"):
        self.port = port
        self._address = address
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))

    def send(self, packets: Iterable[bytes]) -> None:
        """Send, a few at a time, and return once the receiver has taken the last."""
        for number, packet in enumerate(packets):
            self._socket.sendto(packet, (self._address, self.port))
            if number % 8 == 7:
                self._wait()
        self._wait()

    def close(self) -> None:
        self._socket.close()

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while self._queued():
            assert time.monotonic() < deadline, "the receiver does not read"
            time.sleep(0.0005)

    def _queued(self) -> int:
        """Bytes that the kernel holds for the port."""
        queued = 0
        for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == self.port:
                queued += int(fields[4].rpartition(":")[2], 16)
        return queued


def free_port() -> int:
    """A UDP port that nobody holds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scan_input(preset_rows: int = 32, columns: int = 64) -> InputSpec:
    """What a detector of scans takes."""
    spec = range_image_spec(
        rows=preset_rows,
        columns=columns,
        elevation_deg=(-16.5, 15.5),
        max_range_m=80,
        points_per_cell=10,
        rings=16,
    )
    return InputSpec(modality="scan", shape=(1, 5, preset_rows, columns), dtype="float32", preprocess=spec)
