"""A convolution whose accumulator becomes int16, and LiteRT's fixed-point product that its convolutions round by.

The accumulator, int32, holds bias + sum of input * weight at the scale input scale * weight scale. INT8 keeps 8 bits of
it, chosen by the largest value that calibration saw; here 16 are kept, so that a difference of features that are
nearly equal, taken inside the convolution, loses nothing to rounding: steps of about 1/8000 of the largest calibrated
difference where the accumulator itself is that fine, and room for values four times as large.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.integer.arithmetic import Int64

LIMIT = 32767  # outputs are within -LIMIT to LIMIT: symmetric, so that a square has 30 bits


def wrapped(x: Int64) -> Int64:
    """To 32 bits, modulo 2^32, as an int32 accumulator."""
    return np.asarray((np.asarray(x, np.int64) + (1 << 31)) % (1 << 32) - (1 << 31))


def scale_twice(x: Int64, multiplier: Int64, shift: Int64) -> Int64:
    """x * multiplier / 2^31 * 2^shift, rounded at the product, half up, and at the shift, half away from zero:
    MultiplyByQuantizedMultiplier of LiteRT's reference kernels. x: int32."""
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    high = wrapped((wrapped(x << left) * multiplier + (1 << 30)) >> 31)
    mask = (np.int64(1) << right) - 1
    half = (mask >> 1) + (high < 0)
    return np.asarray((high >> right) + ((high & mask) > half))


def convolution_int16(
    x: npt.NDArray[np.int8], weights: npt.NDArray[np.int8], bias: Int64, multiplier: Int64, shift: Int64,
    *, input_zero: int, stride: tuple[int, int] = (1, 1), pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    limits: tuple[int, int] = (-LIMIT, LIMIT),
) -> npt.NDArray[np.int16]:  # fmt: skip
    """(h, w, in_c) to (out_h, out_w, out_c), rounded twice (`scale_twice`) and saturated at `limits`.

    weights: (out_c, k_h, k_w, in_c). bias, multiplier, shift: (out_c,), the bias without the input's zero point. pads:
    rows above and below, columns left and right, which count as input_zero.
    """
    top, bottom, left, right = pads
    out_c, k_h, k_w, _ = weights.shape
    centred = np.pad(x.astype(np.int64) - input_zero, ((top, bottom), (left, right), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(centred, (k_h, k_w), axis=(0, 1))
    windows = windows[:: stride[0], :: stride[1]]  # (out_h, out_w, in_c, k_h, k_w)
    flat = windows.transpose(0, 1, 3, 4, 2).reshape(*windows.shape[:2], -1)
    sums = wrapped(flat @ weights.astype(np.int64).reshape(out_c, -1).T + bias)
    return np.clip(scale_twice(sums, multiplier, shift), *limits).astype(np.int16)
