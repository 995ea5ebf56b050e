"""Velodyne sensors: which packets are theirs, where a revolution ends, and its points.

Packets: Velodyne VLP-16 User Manual (63-9243), section 9; HDL-64E S3 manual, appendix E; VLS-128 manual, section 9.
Points: the package velodyne-decoder.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.errors import DataError, MissingDependencyError, SourceError
from edge_ad.runtime.scans import MAX_COORDINATE_M, Points
from edge_ad.runtime.sources.lidar.options import VelodyneOptions, VelodynePcapOptions
from edge_ad.runtime.sources.lidar.revolutions import Revolution, Sensor, to_scan

PORT = 2368
PACKET_BYTES = 1206
POSITION_BYTES = 512
TURN = 36000  # azimuths are in hundredths of a degree
_BEHIND = 18000  # where a revolution is cut: what moves meanwhile is torn there, and not ahead
_BLOCKS = 12
_BLOCK_BYTES = 100
_FIELDS = struct.Struct(
    "<" + "HH96x" * _BLOCKS + "IBB"
)  # flag and azimuth of each block; microseconds, mode, product
_HOUR_US = 3_600_000_000
_TURN_US = (50_000, 200_000)  # of the fastest and the slowest turn, 1200 and 300 a minute
_JITTER = 500  # an azimuth may fall back by less than this
_FLAGS = (0xEEFF, 0xDDFF, 0xCCFF, 0xBBFF)  # the banks of 32 lasers
_PRODUCTS = {
    0x21: "HDL32E", 0x22: "VLP16", 0x23: "VLP32A or VLP32B", 0x24: "PuckHiRes", 0x28: "VLP32C", 0x31: "Velarray",
    0xA1: "VLS128",
}  # fmt: skip


@dataclass(frozen=True)
class _Layout:
    """product: the last byte of a packet, None for HDL-64E, which say other things there. has_time: packets hold the
    sensor's time."""

    product: int | None
    lasers: int
    has_time: bool = True

    @property
    def banks(self) -> int:
        """Of 32 lasers, each with a flag of its own."""
        return -(-self.lasers // 32)


_LAYOUTS = {
    "HDL64E_S1": _Layout(None, 64, has_time=False), "HDL64E_S2": _Layout(None, 64), "HDL64E_S3": _Layout(None, 64),
    "HDL32E": _Layout(0x21, 32), "VLP16": _Layout(0x22, 16), "PuckLite": _Layout(0x22, 16),
    "PuckHiRes": _Layout(0x24, 16), "VLP32A": _Layout(0x23, 32), "VLP32B": _Layout(0x23, 32),
    "VLP32C": _Layout(0x28, 32), "VLS128": _Layout(0xA1, 128), "AlphaPrime": _Layout(0xA1, 128),
}  # fmt: skip


def open_sensor(options: VelodyneOptions | VelodynePcapOptions, where: str) -> Sensor:
    """The sensor that `options` describe.

    Raises SourceError for a model that is unknown or lacks a calibration, and for a calibration that cannot be read;
    MissingDependencyError without velodyne-decoder.
    """
    vd = _import_decoder()
    known = {_plain(name): name for name in vd.Model.__members__ if name in _LAYOUTS}
    name = known.get(_plain(options.model))
    if name is None:
        raise SourceError(
            f"unknown model '{options.model}'", where=where, hint=f"known: {', '.join(known.values())}"
        )
    layout = _LAYOUTS[name]
    calibration = None if options.calibration is None else _read_calibration(vd, options.calibration, layout)
    if calibration is None and layout.product is None:
        raise SourceError(
            f"{name} needs the calibration of its lasers", where=where,
            hint="add calibration=FILE.yml, e.g. from a capture by velodyne-decoder's extract-hdl64e-calibration",
        )  # fmt: skip
    # min and max of range: by default the decoder drops points nearer than 0.1 m and farther than 200 m
    config = vd.Config(
        model=vd.Model.__members__[name], calibration=calibration, min_range=0.0, max_range=MAX_COORDINATE_M
    )
    points = partial(_points, vd, config, options.intensity_max, where)
    return Sensor(name, PORT, VelodyneSplitter(name, fov=_fov(options.fov, where)), points)


class VelodyneSplitter:
    """Cuts Velodyne packets into revolutions at one azimuth: straight behind or, with a field of view, amid the rest.

    A packet that passes the cut goes to both revolutions, with the ranges of the other's blocks set to 0 (no echo), so
    that each azimuth stands in a scan once. What is missing shows from the azimuths.
    """

    def __init__(self, model: str, *, fov: tuple[int, int] | None = None):
        """fov: first and last azimuth at which the sensor fires, in hundredths of a degree; None for all around."""
        self._model, self._layout = model, _LAYOUTS[model]
        first, last = fov or (0, TURN)
        self._margin = (TURN - ((last - first) % TURN or TURN)) // 2  # blind, on either side of the cut
        self._cut = (last + self._margin) % TURN if fov else _BEHIND
        self._previous = b""  # the last packet, without its ranges
        self._packets: list[bytes] = []
        self._missing = self._lost = 0  # hundredths of a degree, packets; of the revolution under way
        self._begun = self._gap = False
        self._ts_ns = self._time_us = 0
        self._first = self._last = -1  # azimuths of the last packet's first and last block, from the cut
        self._span = self._step = 0  # that a packet, and a column, covers
        self._turn_us: float = _TURN_US[1]

    def aside(self, packet: bytes) -> bool:
        """Whether it is a position packet."""
        return len(packet) == POSITION_BYTES

    def problem(self, packet: bytes) -> str | None:
        """Why it is no packet of this model."""
        if len(packet) != PACKET_BYTES:
            return f"{len(packet)} bytes instead of {PACKET_BYTES}"
        *blocks, _, _, product = _FIELDS.unpack(packet)
        flags, azimuths = blocks[0::2], blocks[1::2]
        if flags[0] not in _FLAGS[:2]:
            return f"they begin with 0x{flags[0]:04x} instead of 0xeeff"
        if self._layout.product is None:
            if 0xDDFF not in flags:
                return f"they are of a sensor with one bank of lasers{_maybe(product)}"
        elif product != self._layout.product:
            is_64 = 0xDDFF in flags and 0xCCFF not in flags
            model = "HDL64E" if is_64 else _PRODUCTS.get(product, "no model that is known")
            return f"they are of {model} (product byte 0x{product:02x}): give its name as model"
        count = self._count(flags)
        if not count or any(flag not in _FLAGS[: self._layout.banks] for flag in flags[:count]):
            return "damaged blocks"
        if max(azimuths[:count]) >= TURN:
            return "azimuths beyond 360 degrees"
        return None

    def push(self, packet: bytes, ts_ns: int) -> Revolution | None:
        """Take a packet; the revolution that it ends, if it passes the cut."""
        *blocks, time_us, _, _ = _FIELDS.unpack(packet)
        count = self._count(blocks[0::2])
        turns = [(azimuth - self._cut) % TURN for azimuth in blocks[1 : 2 * count : 2]]
        self._forget_after_outage(turns[0], time_us, ts_ns)
        self._measure(turns)
        ended = self._advance(turns[0])
        self._ts_ns, self._time_us = ts_ns, time_us
        split = _passes(turns)
        if split:
            self._packets.append(_without(packet, split, _BLOCKS))
            ended = self._end()
            packet_ahead = _without(packet, 0, split)
        else:
            packet_ahead = packet
        self._packets.append(packet_ahead)
        self._previous = _without(packet, 0, _BLOCKS)
        self._first, self._last = turns[0], turns[-1]
        return ended

    def finish(self) -> Revolution | None:
        """The revolution under way."""
        if self._last < 0:
            return None
        self._missing += self._visible(self._last + self._step, TURN)
        return self._end()

    def _count(self, flags: list[int]) -> int:
        """Blocks in use: with both returns of four banks the last four are empty."""
        return next((i for i, flag in enumerate(flags) if flag not in _FLAGS), _BLOCKS)

    def _measure(self, turns: list[int]) -> None:
        """What a packet and a column cover, from the azimuths of its columns."""
        columns = 1 + sum(a != b for a, b in pairwise(turns))
        if columns > 1:
            self._step = _forward(turns[0], turns[-1]) // (columns - 1)
            self._span = self._step * columns

    def _advance(self, first: int) -> Revolution | None:
        """From the last packet's last block to `first`: what is missing in between, and the cut if it lies there."""
        if self._last < 0:
            self._missing = self._visible(0, first)
            return None
        distance = _forward(self._last, first)
        if self._first == self._last and (not self._step or distance < 1.5 * self._step):
            self._step = self._span = (
                distance  # one column a packet: what it covers shows from the next one only
            )
        start, stop = self._last + self._step, self._last + distance
        if stop - start < self._span / 2:
            start = stop
        here, ahead = self._visible(start, min(stop, TURN)), self._visible(start - TURN, stop - TURN)
        lost = round((here + ahead) / self._span) if self._span else 0
        self._missing += here
        self._lost += lost if here else 0
        if stop < TURN:
            return None
        ended = self._end()
        self._missing = ahead
        self._lost = 0 if here else lost
        return ended

    def _forget_after_outage(self, first: int, time_us: int, ts_ns: int) -> None:
        """Begin anew when a whole turn or more is missing, which azimuths do not show.

        Both clocks must say so: the sensor's jumps when it finds GPS, and packets may reach us in bursts.
        """
        if self._last < 0:
            return
        ours_us = (ts_ns - self._ts_ns) // 1000
        elapsed_us = (time_us - self._time_us) % _HOUR_US if self._layout.has_time else ours_us
        if ours_us > _TURN_US[0] and elapsed_us > self._turn_us:
            self._lost += round(elapsed_us / self._turn_us * TURN / self._span) - 1 if self._span else 0
            self._packets, self._previous, self._last = [], b"", -1
            self._gap = self._begun = True
            return
        distance = _forward(self._first, first)
        if self._layout.has_time and elapsed_us and 0 < distance <= 1.5 * self._span:
            self._turn_us = TURN * elapsed_us / distance

    def _visible(self, start: int, stop: int) -> int:
        """How much of an interval, counted from the cut, lies where the sensor fires."""
        return max(0, min(stop, TURN - self._margin) - max(start, self._margin))

    def _end(self) -> Revolution:
        share = 1 - self._missing / (TURN - 2 * self._margin)
        ended = Revolution(tuple(self._packets), self._ts_ns, share, self._begun, self._lost, self._gap)
        # the decoder takes the speed of a VLS-128's first packet from the packet before
        self._packets = [self._previous] if self._previous else []
        self._missing = self._lost = 0
        self._begun, self._gap = True, False
        return ended


def _points(vd: Any, config: Any, intensity_max: float, where: str, revolution: Revolution) -> Points:
    packets = vd.PacketVector()
    for packet in revolution.packets:
        packets.append(vd.VelodynePacket(0.0, packet))
    try:
        # a decoder of its own: it remembers the last packet, and revolutions may have been dropped since
        _, table = vd.ScanDecoder(config).decode(packets)
    except RuntimeError as error:
        raise DataError(f"cannot be decoded ({error})", where=where) from error
    if not len(table):
        raise DataError("holds no echoes", where=where, hint="check the sensor's window and its cover")
    fields = vd.PointField
    points = np.ascontiguousarray(table[:, [fields.x, fields.y, fields.z, fields.intensity]], np.float32)
    rings = table[:, fields.ring].astype(np.int64)
    return to_scan(points, rings.max() - rings, intensity_max, where)


def _passes(turns: list[int]) -> int:
    """The first block behind the cut, 0 where the packet does not pass it."""
    return next((i for i in range(1, len(turns)) if turns[i - 1] - turns[i] > _JITTER), 0)


def _forward(start: int, stop: int) -> int:
    """How far it is from one azimuth on to the other; falling back a little counts as staying."""
    distance = (stop - start) % TURN
    return 0 if distance > TURN - _JITTER else distance


def _without(packet: bytes, start: int, stop: int) -> bytes:
    """The packet with the blocks from `start` up to `stop` without echoes."""
    emptied = bytearray(packet)
    for block in range(start, stop):
        offset = block * _BLOCK_BYTES
        emptied[offset + 4 : offset + _BLOCK_BYTES] = bytes(_BLOCK_BYTES - 4)
    return bytes(emptied)


def _fov(text: str | None, where: str) -> tuple[int, int] | None:
    if text is None:
        return None
    first, last = (int(part) for part in text.split("-"))
    if max(first, last) > 360:
        raise SourceError(f"fov={text} goes beyond 360 degrees", where=where, hint="e.g. fov=270-90")
    return (first * 100, last * 100) if (last - first) % 360 else None


def _read_calibration(vd: Any, path: Path, layout: _Layout) -> Any:
    try:
        calibration = vd.Calibration.read(str(path))
    except RuntimeError as error:
        raise SourceError(f"is no calibration that can be read ({error})", where=path) from error
    lasers = len(re.findall(r"\blaser_id:", calibration.to_string()))
    if lasers != layout.lasers:  # the decoder does not check, and reads beyond its table
        raise SourceError(f"holds {lasers} lasers, the sensor has {layout.lasers}", where=path)
    return calibration


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).upper()


def _maybe(product: int) -> str:
    return f", perhaps {_PRODUCTS[product]}" if product in _PRODUCTS else ""


def _import_decoder() -> Any:
    try:
        import velodyne_decoder
    except ImportError as error:
        raise MissingDependencyError(
            "Velodyne sensors need velodyne-decoder", hint="pip install 'edge-ad[velodyne]'"
        ) from error
    return velodyne_decoder
