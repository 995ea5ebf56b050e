"""The part of a model image by which a board judges for itself (engine/monitor.h), written and read."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.errors import UsageError

_HEAD = struct.Struct("<7i4Ii")
_CHANNEL = struct.Struct("<iiIff")
_DIGITS = 9  # of a score's unit: what fits into 30 bits
MAX_CHANNELS = 64
INT32 = np.iinfo(np.int32)
_FAR = 1 << 16  # beyond every window's range


@dataclass(frozen=True)
class Stream:
    """How measured rows become windows: (channels, rows) int16 or, of `width` 1, int8, by `scale` a step.

    hop: rows from one window to the next. mean, std: of each channel, in the unit of float32 rows; a window holds
    (x - mean) / std / scale + zero_point, saturated. count: what one step of int16 rows is in that unit.
    """

    hop: int
    rows: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float
    width: int = 2
    zero_point: int = 0
    count: float = 1.0

    def saturated(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.int16]:
        """With the zero point, as integers of the window's range."""
        limits = np.iinfo(np.int8 if self.width == 1 else np.int16)
        return np.clip(steps + self.zero_point, limits.min, limits.max).astype(np.int16)


@dataclass(frozen=True)
class Monitor:
    """Scores are integers in units of `scale`. lower, upper: the rejection band, else the threshold; lowest, highest:
    what the threshold may be set to. stream: None where each inference is a frame of its own."""

    threshold: int
    lower: int
    upper: int
    lowest: int
    highest: int
    scale: float
    stream: Stream | None = None

    def pack(self) -> bytes:
        """As it stands in an image. Raises UsageError for what no image can hold."""
        levels = (self.threshold, self.lower, self.upper, self.lowest, self.highest)
        if not all(INT32.min <= level <= INT32.max for level in levels):
            raise UsageError("a threshold does not fit into 32 bits")
        stream = self.stream
        if stream is not None and not 1 <= len(stream.mean) <= MAX_CHANNELS:
            raise UsageError(f"a board takes 1 to {MAX_CHANNELS} channels, not {len(stream.mean)}")
        window = (0, 0, 0, 0, 0)
        if stream is not None:
            window = (stream.hop, stream.rows, len(stream.mean), stream.width, stream.zero_point)
        head = _HEAD.pack(*levels, *decimal_unit(self.scale), *window)
        return head + (b"" if stream is None else b"".join(channel_words(stream)))


def decimal_unit(scale: float) -> tuple[int, int]:
    """(mantissa, exponent) of mantissa * 10^exponent, nearest to a positive `scale` with 9 digits."""
    if not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"a score's unit is a positive number, not {scale}")
    exponent = math.floor(math.log10(scale)) - _DIGITS + 1
    mantissa = round(scale / 10.0**exponent)
    if mantissa >= 10**_DIGITS:
        mantissa, exponent = round(mantissa / 10), exponent + 1
    return mantissa, exponent


def channel_words(stream: Stream) -> Sequence[bytes]:
    """Of each channel: mean in 1/256, gain and shift for int16 rows; mean and factor for float32 rows."""
    return [
        _CHANNEL.pack(*integers(mean, std, stream), np.float32(mean), np.float32(1 / (std * stream.scale)))
        for mean, std in zip(stream.mean, stream.std, strict=True)
    ]


def integers(mean: float, std: float, stream: Stream) -> tuple[int, int, int]:
    """mean_q8, gain and shift with which ((x * 256 - mean_q8) * gain + 2^(shift - 1)) >> shift is
    (x * count - mean) / std / scale."""
    factor = stream.count / (256 * std * stream.scale)
    shift = min(62, max(1, 30 - math.floor(math.log2(factor)) - 1))
    gain = round(factor * 2.0**shift)
    mean_q8 = round(mean / stream.count * 256)
    if not (0 < gain <= INT32.max and INT32.min <= mean_q8 <= INT32.max):
        raise UsageError(
            f"a channel of mean {mean:g} and deviation {std:g} cannot be standardised in 32 bits",
            hint="record it in another unit",
        )
    return mean_q8, gain, shift


def standardise_int16(rows: npt.NDArray[np.int16], stream: Stream) -> npt.NDArray[np.int16]:
    """What a board makes of int16 rows (n, channels), to the bit: halves are rounded up, and it saturates."""
    columns: list[npt.NDArray[np.int64]] = []
    for column, mean, std in zip(rows.T.astype(np.int64), stream.mean, stream.std, strict=True):
        mean_q8, gain, shift = integers(mean, std, stream)
        columns.append(((column * 256 - mean_q8) * gain + (1 << (shift - 1))) >> shift)
    return stream.saturated(np.clip(np.stack(columns, axis=1), -_FAR, _FAR))


def standardise_float32(rows: npt.NDArray[np.float32], stream: Stream) -> npt.NDArray[np.int16]:
    """What a board makes of float32 rows (n, channels), to the bit: halves away from zero, and it saturates."""
    mean = np.array(stream.mean, np.float32)
    factor = np.array([1 / (std * stream.scale) for std in stream.std], np.float32)
    apart = (rows.astype(np.float32) - mean).astype(np.float32)
    steps = (apart * factor).astype(np.float32)
    half = np.where(steps < 0, np.float32(-0.5), np.float32(0.5))
    rounded = np.trunc((steps + half).astype(np.float32))
    inside = np.clip(np.where(np.isnan(rounded), -_FAR, rounded), -_FAR, _FAR)
    return stream.saturated(inside.astype(np.int64))
