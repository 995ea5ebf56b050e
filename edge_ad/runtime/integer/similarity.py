"""Multi-scale gradient magnitude similarity (MSGMS) in integers.

RIAD's map (Zavrtanik, Kristan, Skočaj, Pattern Recognition 112, 2021, section 3.2) is 1 - GMS = (g1 - g2)^2 / (g1^2 +
g2^2 + c), with g the magnitude of Prewitt's gradient, averaged over channels and scales. Images are int16, pixels in
units of 1/32 (0 to 8160). Roots are cut off after four bits, quotients come from a table of reciprocals and a step of
Newton's, within 2^-17 of themselves; with c = 0.0026 that makes a map within 2 * 10^-4 of the one in float64.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.integer.arithmetic import Int64, round_shift
from edge_ad.runtime.integer.functions import near_root, near_share, saturate

PIXEL_SHIFT = 5  # a pixel's step is 2^5
WHITE = 255 << PIXEL_SHIFT

Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]


def gradient_constant(c: float) -> int:
    """c of the similarity of images of 0..1 and filters over 3, in units of these images and whole filters."""
    return round(c * 9 * WHITE**2)


def halve(image: Int16) -> Int16:
    """(h, w, c) to (h / 2, w / 2, c): means of 2 x 2, half up; an odd row or column is left out."""
    h, w, c = image.shape
    cut = image[: h // 2 * 2, : w // 2 * 2].astype(np.int64).reshape(h // 2, 2, w // 2, 2, c)
    return np.asarray(round_shift(np.asarray(cut.sum((1, 3))), 2), np.int16)


def gradient_dissimilarity(a: Int16, b: Int16, constant: int, bits: int) -> Int32:
    """(h, w, c) to (h, w): (g - h)^2 / (g^2 + h^2 + constant) in units of 2^-bits, summed over channels.

    g, h: magnitudes of Prewitt's gradients of a and b, values 0 to 8191, borders repeated.
    """
    (a_squared, g), (b_squared, h) = _magnitude(a), _magnitude(b)
    shares = near_share((g - h) ** 2, a_squared + b_squared + constant, bits)
    return np.asarray(shares.sum(-1), np.int32)


def _magnitude(image: Int16) -> tuple[Int64, Int64]:
    x = np.pad(image.astype(np.int64), ((1, 1), (1, 1), (0, 0)), mode="edge")
    h, w, _ = image.shape
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    columns = x[:-2] + x[1:-1] + x[2:]
    down, across = rows[2:] - rows[:h], columns[:, 2:] - columns[:, :w]
    squared = across**2 + down**2
    return squared, near_root(squared)


def stretch_sum(values: Int32, base: Int32 | None, places: Int64, out_h: int) -> Int32:
    """(h, w) between rows and columns, bilinearly, + base (out_h, out_w), saturated.

    places: (out_h + out_w, 3) lower, upper, weight of the upper in 1/1024, of rows, then of columns.
    """
    low, high, by = places[:out_h].T
    left, right, along = places[out_h:].T
    x = values.astype(np.int64)
    rows = x[low] * (1024 - by)[:, None] + x[high] * by[:, None]
    wide: Int64 = rows[:, left] * (1024 - along) + rows[:, right] * along
    stretched = round_shift(wide, 20)
    return saturate(stretched if base is None else stretched + base, 32).astype(np.int32)
