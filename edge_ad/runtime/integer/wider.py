"""From INT8 to int16 without a zero point, and pooling of int16: what comes before layers in 16 bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.integer.functions import Int64, saturate, scale

Int16 = npt.NDArray[np.int16]


def widen(x: npt.NDArray[np.int8], multiplier: int, shift: int, zero: int) -> Int16:
    """(x - zero) * multiplier / 2^31 * 2^shift, rounded once, half up, saturated; shift from -31 to 30."""
    return saturate(scale(x.astype(np.int64) - zero, multiplier, shift)).astype(np.int16)


def pool16(
    x: Int16, kernel: tuple[int, int], stride: tuple[int, int], pads: tuple[int, int], out: tuple[int, int], *,
    maximum: bool, limits: tuple[int, int] = (-(1 << 15), (1 << 15) - 1),
) -> Int16:  # fmt: skip
    """x (H, W, C) to (*out, C): the mean, rounded half away from zero, or the maximum of each window, within limits.

    pads: rows above, columns to the left. What lies outside of the image does not count.
    """
    found = np.empty((*out, x.shape[2]), np.int64)
    for row, column in np.ndindex(*out):
        begin = [n * s - p for n, s, p in zip((row, column), stride, pads, strict=True)]
        ys, xs = (slice(max(0, b), b + k) for b, k in zip(begin, kernel, strict=True))
        window = x[ys, xs].astype(np.int64)
        found[row, column] = window.max((0, 1)) if maximum else _mean(window)
    return np.clip(found, *limits).astype(np.int16)


def _mean(window: Int64) -> Int64:
    """Over rows and columns, half away from zero."""
    total, count = window.sum((0, 1)), window.shape[0] * window.shape[1]
    return np.asarray(np.sign(total) * ((np.abs(total) + count // 2) // count), np.int64)
