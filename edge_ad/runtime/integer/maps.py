"""Anomaly maps in int32: squared differences, their means over windows, sums of maps, the maximum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.integer.arithmetic import Int64, round_shift
from edge_ad.runtime.integer.functions import saturate

Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]


def squared_difference(a: Int16, b: Int16 | None, shift: int) -> Int32:
    """(…, channels) to (…): the sum over channels of (a - b)^2, or of a^2, divided by 2^shift, half up, saturated.

    Sums have 64 bits. With n channels, |a - b| up to 32767 and a shift of at least log2(n) - 1 nothing saturates.
    """
    difference = a.astype(np.int64) - (0 if b is None else b.astype(np.int64))
    return saturate(round_shift((difference**2).sum(-1), shift), 32).astype(np.int32)


def squares_shift(channels: int) -> int:
    """The smallest shift with which `squared_difference` of values up to 32767 never saturates."""
    return max(0, (channels * 32767**2).bit_length() - 31)


def box_mean(values: Int32, side: int) -> Int32:
    """(h, w) to the mean, half up, of the values within side / 2 rows and columns of each, fewer at the border.

    Values are not negative, and a window's sum is below 2^32.
    """
    h, w = values.shape
    half = side // 2
    sums = np.pad(values.astype(np.int64), half)
    ones = np.pad(np.ones((h, w), np.int64), half)
    for axis in (0, 1):
        sums, ones = (
            np.lib.stride_tricks.sliding_window_view(x, side, axis=axis).sum(-1) for x in (sums, ones)
        )
    return ((2 * sums + ones) // (2 * ones)).astype(np.int32)


def affine_map(
    values: Int32, base: Int32 | None, mean: Int64 | np.int64, gain: Int64 | np.int64, shift: int
) -> Int32:
    """(values - mean) * gain / 2^shift, half up, + base, saturated. mean, gain: of each position, or one for all."""
    scaled = round_shift((values.astype(np.int64) - mean) * gain, shift)
    return saturate(scaled if base is None else scaled + base, 32).astype(np.int32)


def map_max(values: Int32, offset: int) -> int:
    """The largest value, - offset, saturated."""
    return int(saturate(np.int64(values.max()) - offset, 32))
