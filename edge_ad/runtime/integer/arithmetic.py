"""Integer arithmetic that the board's kernels share; in C: firmware/engine/fixed.h. All arrays are int64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


def round_shift(x: Int64, shift: int | Int64) -> Int64:
    """x / 2^shift rounded half up; shift from 0 to 62, |x| below 2^62."""
    by = np.asarray(shift, np.int64)
    half = np.where(by > 0, np.int64(1) << np.maximum(by - 1, 0), 0)
    return np.asarray((np.asarray(x, np.int64) + half) >> by, np.int64)


def shift_rounded(x: Int64, left: int | Int64) -> Int64:
    """x * 2^left, rounded half up where `left` is negative; exact values must stay below 2^63."""
    by = np.asarray(left, np.int64)
    return round_shift(np.asarray(x, np.int64) << np.maximum(by, 0), np.maximum(-by, 0))


def magnitude_bits(x: Int64, axis: int | tuple[int, ...] = -1, keepdims: bool = False) -> Int64:
    """The least b with -2^b <= value < 2^b for all values along `axis` of int32 values: 0 to 31."""
    x = np.asarray(x, np.int64)
    return bit_length((x ^ (x >> 63)).max(axis=axis, keepdims=keepdims))


def bit_length(x: Int64) -> Int64:
    """Bits of values from 0 to 2^53 - 1: 0 of 0, 1 of 1, 2 of 2 and 3, …"""
    return np.asarray(np.frexp(np.asarray(x, np.float64))[1], np.int64)
