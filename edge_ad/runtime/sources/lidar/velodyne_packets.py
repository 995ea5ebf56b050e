"""Packets of Velodyne sensors: which are a model's, and where a revolution ends.

Velodyne VLP-16 User Manual (63-9243), section 9; HDL-64E S3 manual, appendix E; VLS-128 manual, section 9.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

from edge_ad.runtime.sources.lidar.revolutions import Revolution

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
_MAX_PACKETS = 20_000  # a turn has 4,000 at most; a sensor that stands still sends on
_JITTER = 500  # an azimuth may fall back by less than this
_FLAGS = (0xEEFF, 0xDDFF, 0xCCFF, 0xBBFF)  # the banks of 32 lasers
_PRODUCTS = {
    0x21: "HDL32E", 0x22: "VLP16", 0x23: "VLP32A or VLP32B", 0x24: "PuckHiRes", 0x28: "VLP32C", 0x31: "Velarray",
    0xA1: "VLS128",
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """product: the last byte of a packet, None for HDL-64E, which say other things there. has_time: packets hold the
    sensor's time."""

    product: int | None
    lasers: int
    has_time: bool = True

    @property
    def banks(self) -> int:
        """Of 32 lasers, each with a flag of its own."""
        return -(-self.lasers // 32)


LAYOUTS = {
    "HDL64E_S1": Layout(None, 64, has_time=False), "HDL64E_S2": Layout(None, 64), "HDL64E_S3": Layout(None, 64),
    "HDL32E": Layout(0x21, 32), "VLP16": Layout(0x22, 16), "PuckLite": Layout(0x22, 16),
    "PuckHiRes": Layout(0x24, 16), "VLP32A": Layout(0x23, 32), "VLP32B": Layout(0x23, 32),
    "VLP32C": Layout(0x28, 32), "VLS128": Layout(0xA1, 128), "AlphaPrime": Layout(0xA1, 128),
}  # fmt: skip


class VelodyneSplitter:
    """Cuts Velodyne packets into revolutions at one azimuth: straight behind or, with a field of view, amid the rest.

    A packet that passes the cut goes to both revolutions, with the ranges of the other's blocks set to 0 (no echo), so
    that each azimuth stands in a scan once. What is missing shows from the azimuths.
    """

    def __init__(self, model: str, *, fov: tuple[int, int] | None = None):
        """fov: first and last azimuth at which the sensor fires, in hundredths of a degree; None for all around."""
        self._model, self._layout = model, LAYOUTS[model]
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
            self._packets.append(_without(packet, 0, split))
        else:
            self._packets.append(packet)
        if len(self._packets) > _MAX_PACKETS:
            self._packets, self._missing = [], TURN
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


def _maybe(product: int) -> str:
    return f", perhaps {_PRODUCTS[product]}" if product in _PRODUCTS else ""
