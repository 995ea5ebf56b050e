"""Layers with INT8 weights and a 16-bit residual stream, in integers: what boards compute, to the bit.

Activations are int16 without a zero point, value = unit * integer; every result is rounded once, half up, and
saturated to int16. Arrays are int64 that hold such values.
"""

from __future__ import annotations

import numpy as np

from edge_ad.runtime.integer.functions import Int64, curve, reciprocal, root, saturate, scale

NORM_BITS = 16  # fractional bits of a normalised value before its gain


def fully_connected_wide(x: Int64, weights: Int64, channels: Int64) -> Int64:
    """x (B, depth) times weights (units, depth) int8, to (B, units).

    channels (2, units): bias and `packed_scale` of each unit. Sums with their bias are taken modulo 2^32.
    """
    bias, scales = (np.asarray(row, np.int64) for row in channels)
    sums = np.asarray(x, np.int64) @ np.asarray(weights, np.int64).T + bias
    wrapped = (sums + (1 << 31)) % (1 << 32) - (1 << 31)
    return saturate(scale(wrapped, scales, 30 - (scales & 63)))


def packed_scale(multiplier: int, shift: int) -> int:
    """The word next to a multiplier of 31 bits whose lowest six bits are 30 - shift, shift from -31 to 30: it serves as
    the multiplier, to 2^-25 of it, and says how far the product is shifted, less 1."""
    low = 30 - shift
    return min(max((multiplier - low + 32) & ~63, 0), (1 << 31) - 64) | low


def feature_scale(x: Int64, features: Int64) -> Int64:
    """x (rows, columns) scaled and moved column by column; features (3, columns): multiplier, shift, offset."""
    multiplier, shift, offset = (np.asarray(row, np.int64) for row in features)
    return saturate(scale(x, multiplier, shift) + offset)


def gated_add(
    stream: Int64, hidden: Int64, gate: Int64, table: Int64, bits: int, multiplier: int, shift: int
) -> Int64:
    """stream + hidden * curve(gate) * multiplier / 2^31 * 2^shift, all of one shape."""
    return saturate(stream + scale(hidden * curve(gate, table, bits), multiplier, shift))


def token_norm(x: Int64, gains: Int64, biases: Int64, floor: int, shift: int) -> Int64:
    """Layer norm (Ba et al., arXiv 1607.06450) of x (n,) over all its values, n at most 2^14.

    With d = n x - sum(x), that is n times the distance from the mean, and V = n sum(x^2) - sum(x)^2, that is n^2 times
    the variance: z = d / sqrt(V + floor) in units of 2^-16, then (z * gain) / 2^shift + bias. The sum of squares is
    exact; the root is floor(sqrt), its reciprocal floor(2^62 / root), each of 31 bits or more.
    """
    x = np.asarray(x, np.int64)
    z = standardised(x, *spread(x, floor), NORM_BITS)
    half = np.int64(1) << (shift - 1)
    return saturate(((z * gains + half) >> shift) + biases)


def spread(x: Int64, floor: int, *, at_least: bool = False) -> tuple[int, int, int]:
    """(sum, s, t) of x (n,): s / 2^t is the root of n sum(x^2) - sum(x)^2 plus `floor`, or at least `floor`."""
    total = int(x.sum())
    variance = x.size * int((x * x).sum()) - total * total
    return total, *root(max(variance, floor) if at_least else variance + floor)


def standardised(x: Int64, total: int, s: int, t: int, bits: int, n: int | None = None) -> Int64:
    """(n x - total) / (s / 2^t) in units of 2^-bits; n: of the values that `total` is the sum of, by default all."""
    multiplier, more = reciprocal(s)  # more is 0: s has 32 bits
    total_shift = 62 - more - t - bits
    half = np.int64(1) << (total_shift - 1)
    return np.asarray(
        (((x.size if n is None else n) * x - total) * multiplier + half) >> total_shift, np.int64
    )
