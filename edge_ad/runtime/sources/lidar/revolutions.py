"""What is common to all spinning LiDARs: packets become revolutions, and whole revolutions become scans."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.scan_rings import pseudo_angle
from edge_ad.runtime.scans import Points, checked, echoes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Revolution:
    """One turn of the sensor, as its packets.

    ts_ns: arrival of the last packet, nanoseconds since 1970, UTC. share: how much of the turn arrived. begun: whether
    it was received from its start; the one under way at the start of a stream is not. lost: packets that are missing
    since the stream or the turn began. gap: turns before it are missing.
    """

    packets: tuple[bytes, ...]
    ts_ns: int
    share: float
    begun: bool
    lost: int
    gap: bool = False


class Splitter(Protocol):
    """Cuts a stream of packets into revolutions."""

    def aside(self, packet: bytes) -> bool:
        """Whether it is a packet of the sensor that holds no points (position, acceleration)."""
        ...

    def problem(self, packet: bytes) -> str | None:
        """Why it is no packet of this sensor, as a clause; None when it is one."""
        ...

    def push(self, packet: bytes, ts_ns: int) -> Revolution | None:
        """Take a packet without a `problem`; the revolution that it ends, if it ends one."""
        ...

    def finish(self) -> Revolution | None:
        """The revolution under way, as far as it came."""
        ...


@dataclass(frozen=True)
class Sensor:
    """One sensor: its name for people, the port that it usually sends to, and its two halves.

    points: a revolution as (N, 4) float32 x, y, z in metres in the sensor's frame and intensity, ring by ring; raises
    DataError. Called from another thread than `splitter`.
    """

    name: str
    port: int
    splitter: Splitter
    points: Callable[[Revolution], Points]


class Assembly:
    """Whole revolutions of a stream of packets; what is wrong with the others is counted, and each kind said once.

    unreadable: packets that are not of this sensor, and revolutions of which too little arrived. lost: packets of
    the sensor that never came.
    """

    def __init__(self, sensor: Sensor, *, where: str, min_share: float):
        self.sensor = sensor
        self.unreadable = self.lost = 0
        self.packets = self.wrong = self.cut = 0  # since the last whole revolution
        self.problem = ""
        self._where = where
        self._min_share = min_share
        self._said: set[str] = set()
        self._gap = False

    def push(self, packet: bytes, ts_ns: int) -> tuple[bool, Revolution | None]:
        """Whether the packet is the sensor's, and the whole revolution that it ended, if it did."""
        splitter = self.sensor.splitter
        if splitter.aside(packet):
            return False, None
        problem = splitter.problem(packet)
        if problem is not None:
            self.unreadable += 1
            self.wrong += 1
            self.problem = problem
            self._say_once("packets", "packets that are not of the %s: %s", self.sensor.name, problem)
            return False, None
        self.packets += 1
        return True, self._whole(splitter.push(packet, ts_ns))

    def finish(self) -> Revolution | None:
        """The revolution under way at the end of a stream, if it is whole; it is not counted if it is not."""
        last = self.sensor.splitter.finish()
        return None if last is None or last.share < self._min_share else self._whole(last)

    def _whole(self, revolution: Revolution | None) -> Revolution | None:
        if revolution is None:
            return None
        self.lost += revolution.lost
        if revolution.share >= self._min_share:
            return self._passed(revolution)
        if revolution.begun:
            self.unreadable += 1
            self.cut += 1
            self._gap = True
            self._say_once(
                "cut", "revolutions of which less than %g %% arrived are skipped; this one: %.1f %%, %d packets lost",
                100 * self._min_share, 100 * revolution.share, revolution.lost,
            )  # fmt: skip
        return None

    def _passed(self, revolution: Revolution) -> Revolution:
        self.packets = self.wrong = self.cut = 0
        gap, self._gap = self._gap or revolution.gap, False
        return replace(revolution, gap=gap)

    def _say_once(self, kind: str, text: str, *values: object) -> None:
        if kind not in self._said:
            self._said.add(kind)
            log.warning("%s: " + text, self._where, *values)


def to_scan(points: Points, rows: npt.NDArray[np.integer], intensity_max: float, where: str) -> Points:
    """Points (N, 4) as a scan: those with an echo, ring by ring, intensity in shares of `intensity_max`.

    rows: of each point, (N,), 0 for the highest ring. Each ring goes counter-clockwise from straight ahead, as in
    KITTI's files, so that `ring_ids` finds the rings. Raises DataError as `read_scan` does.
    """
    turn = pseudo_angle(-points[:, 0].astype(np.float64), -points[:, 1].astype(np.float64))  # 0 to 4
    by_row = np.argsort(rows.astype(np.uint16), kind="stable")
    # within a row the sensor has turned once: nearly sorted, which a stable sort is quick with
    by_azimuth = np.argsort(rows[by_row] * 4.0 + turn[by_row], kind="stable")
    scan = points[by_row[by_azimuth]]
    scan[:, 3] /= np.float32(intensity_max)
    return echoes(checked(scan, where=where), where=where)
