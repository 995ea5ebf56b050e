"""Roots, reciprocals, logarithms and tabulated curves in integers; in C: firmware/engine/functions.h."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.integer.arithmetic import bit_length

Int64 = npt.NDArray[np.int64]
CURVE_END = 1 << 16  # int16 values that a curve is a function of
_LOG_BITS = 6  # segments of the logarithm between two powers of two: 2^6


def scale(x: Int64, multiplier: int | Int64, shift: int | Int64) -> Int64:
    """x * multiplier / 2^31 * 2^shift, rounded once, half up; shift from -31 to 30, |x * multiplier| below 2^62."""
    total = np.asarray(31 - np.asarray(shift, np.int64))
    half = np.int64(1) << (total - 1)
    return np.asarray((np.asarray(x, np.int64) * multiplier + half) >> total, np.int64)


def saturate(x: Int64, bits: int = 16) -> Int64:
    """The nearest value that has `bits` bits."""
    return np.clip(x, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def root(x: int) -> tuple[int, int]:
    """(s, t) with sqrt(x) = s / 2^t, x from 1 to 2^64 - 1: s = floor(sqrt(x * 4^t)), from 2^31 to 2^32 - 1."""
    t = (64 - x.bit_length()) // 2
    return math.isqrt(x << 2 * t), t


def reciprocal(x: int) -> tuple[int, int]:
    """(m, t) with 1 / x = m * 2^(t - 62), x from 1 to 2^32 - 1: m = floor(2^62 / (x * 2^t)), 2^30 <= m <= 2^31."""
    t = 32 - x.bit_length()
    return (1 << 62) // (x << t), t


@lru_cache(maxsize=1)
def reciprocals() -> Int64:
    """(256,) 2^24 / (256 + i + 1/2): where `near_reciprocal` starts."""
    return np.array([round((1 << 24) / (256 + i + 0.5)) for i in range(256)])


def near_reciprocal(x: Int64) -> Int64:
    """2^62 / x within 2^-17 of it, x from 2^31 to 2^32 - 1: a table of 256 values and one step of Newton's."""
    x = np.asarray(x, np.int64)
    near = reciprocals()[x >> 23 & 0xFF]
    left = (1 << 62) - x * (near << 15)
    return np.asarray((near << 15) + (near * (left >> 31) >> 16), np.int64)


def near_root(x: Int64) -> Int64:
    """sqrt(x) in units of 1/16, x from 0 to 2^32 - 1: floor(sqrt(x * 4^f)) * 2^(4 - f), where f is the largest number
    up to 4 for which x * 4^f is below 2^32. So what is cut off is below that unit, or below 2^-15 of the root."""
    x = np.asarray(x, np.int64)
    fraction = np.zeros(x.shape, np.int64)
    for _ in range(4):
        small = x < 1 << 30
        x, fraction = np.where(small, x << 2, x), fraction + small
    root = np.sqrt(x.astype(np.float64)).astype(np.int64)  # exact: 53 bits hold x and the root's 16
    return np.asarray(root << (4 - fraction), np.int64)


def near_share(part: Int64, whole: Int64, bits: int) -> Int64:
    """part / (256 * whole) in units of 2^-bits, half up, within 2^-17 of it; whole from 1 to 2^32 - 1, part at most 256
    times that, bits from 1 to 24."""
    part, whole = np.asarray(part, np.int64), np.asarray(whole, np.int64)
    up = 32 - bit_length(whole | 1)
    raised = np.minimum((part << up) >> 8, (1 << 32) - 1).astype(np.uint64)
    product = raised * near_reciprocal(whole << up).astype(np.uint64) + np.uint64(
        1 << (61 - bits)
    )  # below 2^64
    return np.asarray(np.minimum(product >> np.uint64(62 - bits), np.uint64(1 << bits)), np.int64)


@lru_cache(maxsize=1)
def logarithms() -> Int64:
    """(65,) log2(1 + i / 64) in units of 2^-30."""
    return np.array([round(math.log2(1 + i / (1 << _LOG_BITS)) * 2**30) for i in range((1 << _LOG_BITS) + 1)])


def log2(x: int) -> int:
    """log2(x) in units of 2^-16, x from 1 to 2^63 - 1: linear between the 65 values of `logarithms` to a factor of two,
    rounded half up; at most 2^-13.5 too small."""
    whole = x.bit_length() - 1
    fraction = (x << (62 - whole)) - (1 << 62)  # in units of 2^-62
    at, rest = fraction >> (62 - _LOG_BITS), (fraction >> (62 - _LOG_BITS - 16)) & 0xFFFF
    table = logarithms()
    low, high = int(table[at]), int(table[at + 1])
    return (whole << 16) + ((low + ((high - low) * rest >> 16) + (1 << 13)) >> 14)


def curve(x: Int64, table: Int64, bits: int) -> Int64:
    """A function of int16 values by its values at -2^15, -2^15 + 2^bits, …, 2^15: linear between, rounded half up.

    table: 2^(16 - bits) + 1 values; bits from 1 to 14.
    """
    place = np.asarray(x, np.int64) + (1 << 15)
    at, rest = place >> bits, place & ((1 << bits) - 1)
    low = table[at]
    return np.asarray(low + (((table[at + 1] - low) * rest + (1 << (bits - 1))) >> bits), np.int64)


def curve_table(function: Callable[[float], float], unit: float, out_unit: float, bits: int) -> Int64:
    """The table of `curve` for a function of input * unit, in units of out_unit, saturated to int16."""
    places = range(-(1 << 15), (1 << 15) + 1, 1 << bits)
    values = np.array([round(function(i * unit) / out_unit) for i in places], np.int64)
    return saturate(values)
