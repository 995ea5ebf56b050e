"""Layers in 16 bits, in integers: what boards compute, to the bit.

Activations and weights are int16 without a zero point, value = unit * integer. A sum of products and its bias is taken
modulo 2^32 (whoever chooses the weights sees to it that none gets there), multiplied by a real factor, rounded once,
half up, and clamped. Arrays are int64 that hold such values; images are (H, W, C).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_ad.runtime.integer.functions import Int64, scale

KERNEL, STRIDE = 4, 2  # of `doubling16`, with a padding of 1


def standardise16(x: Int64, channels: Int64) -> Int64:
    """x (C, n) to (n, C): (256 x - offset) * multiplier / 2^31 * 2^shift, saturated to int16.

    channels (3, C): offset, multiplier and shift of each channel.
    """
    offset, multiplier, shift = (np.asarray(row, np.int64)[:, None] for row in channels)
    moved = scale((np.asarray(x, np.int64) << 8) - offset, multiplier, shift)
    found: Int64 = np.clip(moved, -(1 << 15), (1 << 15) - 1).T
    return found


@dataclass(frozen=True)
class Scaling:
    """channels (2, rows): bias and multiplier of each row. A sum times multiplier / 2^31 * 2^shift, shift from -31 to
    30, is the result, kept within low to high."""

    channels: Int64
    shift: int
    low: int
    high: int


def dense16(x: Int64, weights: Int64, scaling: Scaling) -> Int64:
    """x (…, depth) times weights (rows, depth), to (…, rows)."""
    bias, multiplier = (np.asarray(row, np.int64) for row in scaling.channels)
    sums = np.asarray(x, np.int64) @ np.asarray(weights, np.int64).T + bias
    wrapped = (sums + (1 << 31)) % (1 << 32) - (1 << 31)
    return np.clip(scale(wrapped, multiplier, scaling.shift), scaling.low, scaling.high)


def convolution16(
    x: Int64, weights: Int64, scaling: Scaling, *, stride: int = 1, pad: int | tuple[int, int] = 0,
    out: tuple[int, int] | None = None,
) -> Int64:  # fmt: skip
    """x (H, W, C) with weights (rows, k_h, k_w, C) to (out_h, out_w, rows); zeros outside the image.

    pad: rows above and columns to the left, one number where they are as many; out: pixels of the output, by default
    as many as a padding of that on all sides gives.
    """
    rows, k_h, k_w, _ = weights.shape
    h, w, _ = x.shape
    top, left = (pad, pad) if isinstance(pad, int) else pad
    out_h, out_w = out or ((h + 2 * top - k_h) // stride + 1, (w + 2 * left - k_w) // stride + 1)
    behind = ((out_h - 1) * stride + k_h - top - h, (out_w - 1) * stride + k_w - left - w)
    around = [(n, max(0, m)) for n, m in zip((top, left), behind, strict=True)]
    padded = np.pad(np.asarray(x, np.int64), [*around, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k_h, k_w), (0, 1))  # type: ignore[call-overload]
    taken = windows[: (out_h - 1) * stride + 1 : stride, : (out_w - 1) * stride + 1 : stride]
    columns = taken.transpose(0, 1, 3, 4, 2).reshape(out_h, out_w, -1)
    return dense16(columns, weights.reshape(rows, -1), scaling)


def doubling16(x: Int64, weights: Int64, scaling: Scaling) -> Int64:
    """The transposed convolution of x (H, W, C) with kernel 4, stride 2 and padding 1, to (2 H, 2 W, rows / 4).

    weights (rows, 2, 2, C): of the 2 x 2 windows of the image padded by one. Rows come as (2, 2, output): those of the
    upper left, upper right, lower left and lower right of the four pixels that lie between a window's.
    """
    windows = convolution16(x, weights, scaling, pad=1)
    h, w, rows = windows.shape
    pixels = windows.reshape(h, w, 2, 2, rows // 4).transpose(0, 2, 1, 3, 4)
    found: Int64 = pixels.reshape(2 * h, 2 * w, rows // 4)[1:-1, 1:-1]
    return found
