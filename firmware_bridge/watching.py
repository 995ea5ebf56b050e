"""A board that watches by itself: what it is told, and what it says of it (docs/link.md)."""

from __future__ import annotations

import re
import secrets
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.errors import BoardError, UsageError
from edge_ad.firmware_bridge.client import BoardClient
from edge_ad.firmware_bridge.samples import encode_samples

ONE = 1 << 15  # 1 in Q15
MOST_FRAMES = 32
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}"

_WATCH, _THRESHOLD, _STATISTICS, _FEED = 0x0E, 0x0F, 0x10, 0x11
_NO_MONITOR, _OUT_OF_RANGE = 10, 11
_START = struct.Struct("<B8HI32sB")
_COUNTS = struct.Struct("<BBi11IiI4i")
_WAIT_S = 60.0  # flash may have to be erased


@dataclass(frozen=True)
class Rules:
    """When events begin, are repeated, and end, as `edge_ad.runtime.decision.DecisionConfig` says; n is at most 32,
    hysteresis and rise are held to a 32768th."""

    k: int = 1
    n: int = 1
    release: int = 3
    cooldown: int = 0
    min_frames: int = 1
    update_interval: int = 30
    hysteresis: float = 1.0
    rise: float = 0.1

    def words(self) -> tuple[int, ...]:
        """Eight u16, in the board's order. Raises UsageError for what it cannot hold."""
        if self.n > MOST_FRAMES:
            raise UsageError(f"a board looks back on at most {MOST_FRAMES} frames, not {self.n}")
        counts = (self.k, self.n, self.release, self.cooldown, self.min_frames, self.update_interval)
        shares = (round(self.hysteresis * ONE), round(self.rise * ONE))
        for name, value in zip(
            ("k", "n", "release", "cooldown", "min_frames", "update_interval", "hysteresis", "rise"),
            (*counts, *shares), strict=True,
        ):  # fmt: skip
            if not 0 <= value <= 0xFFFF:
                raise UsageError(f"{name} is beyond what a board can hold")
        return (*counts, *shares)


@dataclass(frozen=True)
class Statistics:
    """What a board has seen since it began to watch, or started. Thresholds and scores in the image's units.

    brief: events that did not last; suppressed: frames in a cool-down that would have begun one; missed: rows that were
    lost, in `gaps` places; clipped: rows with a number beyond the window's range; waiting, lost: events that nobody has
    taken yet, and that had to be given up for newer ones; epoch: how often it began; lowest, highest: what the
    threshold may be set to; mantissa, exponent: a unit is mantissa * 10^exponent.
    """

    watching: bool
    open: bool
    threshold: int
    frames: int
    uncertain: int
    anomalous: int
    events: int
    brief: int
    suppressed: int
    gaps: int
    missed: int
    clipped: int
    waiting: int
    lost: int
    last_score: int
    epoch: int
    lowest: int
    highest: int
    mantissa: int
    exponent: int

    def value(self, units: int) -> float:
        """A score or threshold in the bundle's own unit."""
        return float(f"{units * self.mantissa}e{self.exponent}")

    def units(self, value: float) -> int:
        """The nearest number of units."""
        return round(value / self.value(1))


def start(client: BoardClient, rules: Rules, *, stream: str, digest: str, identity: int | None = None) -> int:
    """Have the board watch from now on, over restarts too; the threshold that counts. stream: its name in events.
    digest: of the bundle. identity: by which its events are told from other boards', at random by default.

    Raises UsageError for a name that it cannot hold, BoardError for a model that does not judge.
    """
    if not re.fullmatch(NAME, stream):
        raise UsageError(
            f"'{stream}' is no stream name for a board",
            hint="up to 32 letters, digits, '.', '_' and '-', the first a letter or digit",
        )
    chosen = secrets.randbits(32) if identity is None else identity
    name = stream.encode()
    head = _START.pack(1, *rules.words(), chosen, bytes.fromhex(digest), len(name))
    return _int32(_ask(client, _WATCH, head + name))


def stop(client: BoardClient) -> None:
    """Have it watch no more; an open event ends. Raises BoardError where it does not watch."""
    _ask(client, _WATCH, b"\0")


def set_threshold(client: BoardClient, value: int | None) -> int:
    """Have it judge by another threshold, over restarts too, or by the image's own (None); the one that counts now.
    Raises UsageError for one outside of what the image allows."""
    payload = b"" if value is None else struct.pack("<i", value)
    try:
        return _int32(_ask(client, _THRESHOLD, payload))
    except BoardError as error:
        if error.status != _OUT_OF_RANGE or len(error.detail) != 8:
            raise
        lowest, highest = struct.unpack("<ii", error.detail)
        raise UsageError(f"the threshold may be {lowest} to {highest} units, not {value}") from error


def statistics(client: BoardClient) -> Statistics:
    """What it has seen."""
    raw = _ask(client, _STATISTICS, b"")
    if len(raw) != _COUNTS.size:
        raise client.nonsense()
    watching, is_open, *numbers = _COUNTS.unpack(raw)
    return Statistics(bool(watching), bool(is_open), *numbers)


def feed(client: BoardClient, first: int, rows: npt.NDArray[np.generic]) -> int:
    """Give it rows (n, channels), int16 or float32, to judge in place of a sensor's; first: the number of the first
    one. The frames that it has judged so far. As many rows at a time as `rows_a_frame` says."""
    return _int32(_ask(client, _FEED, encode_samples(first, rows)))


def rows_a_frame(client: BoardClient, channels: int, itemsize: int) -> int:
    """How many rows one `feed` may hold."""
    return (client.data_bytes + 4 - 6) // (channels * itemsize)


def _ask(client: BoardClient, kind: int, payload: bytes) -> bytes:
    try:
        return client.ask(kind, payload, deadline_s=_WAIT_S)
    except BoardError as error:
        if error.status != _NO_MONITOR:
            raise
        raise BoardError(
            "the live model does not judge by itself", where=error.where,
            hint="flash a bundle that was compiled from a fitted detector",
            status=error.status, request=kind,
        ) from error  # fmt: skip


def _int32(raw: bytes) -> int:
    return int(struct.unpack("<i", raw)[0])
