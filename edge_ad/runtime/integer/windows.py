"""TSPulse's windows in integers: scaled by themselves, their spectra, the errors of their newest patch.

A window is int16 in units of 2^-9 (standardised units: 1 is a standard deviation of the training data, so 64 of them
are the most) and holds S values, of which the newest p are to be foretold from the n = S - p before them. All arrays
are int64.
"""

from __future__ import annotations

import numpy as np

from edge_ad.runtime.integer.arithmetic import round_shift
from edge_ad.runtime.integer.functions import Int64, reciprocal, saturate, scale
from edge_ad.runtime.integer.residual import spread, standardised
from edge_ad.runtime.integer.rfft import TURN, log2_size, rfft_shift, rfft_words, turned

INPUT_BITS = 9  # fractional bits of a window's samples
Z_BITS = 20  # fractional bits of a value in units of its window's spread
STATISTICS_BITS = 16  # further bits of mean and spread beside those of the window's values
ERROR_BITS = 16  # fractional bits of errors, in standardised units squared
_ONE = 30  # fractional bits of a cosine


def window_scale(
    window: Int64, token: Int64, floor: int, multiplier: int, shift: int, offset: int
) -> tuple[Int64, Int64]:
    """RevIN (Kim et al., ICLR 2022) of a window (S,) whose newest p values are hidden: scaled (S,), statistics (2,).

    Over the n others, V = n sum(x^2) - sum(x)^2 is exact, and is n^2 times the variance; the spread is the root of
    V or of `floor`, whichever is more. A value is (n x - sum) / spread in units of 2^-20, rounded half up, then
    `scale`d, moved by `offset` and saturated to 16 bits; where hidden it is the token's. statistics: the mean, and the
    spread over n, both rounded down, in units of 2^-16 of the window's.
    """
    n = window.size - token.size
    seen = np.asarray(window[:n], np.int64)
    total, s, t = spread(seen, floor, at_least=True)
    scaled = saturate(scale(standardised(seen, total, s, t, Z_BITS), multiplier, shift) + offset)
    mean = (total << STATISTICS_BITS) // n
    deviation = min(((s << STATISTICS_BITS) // n) >> t, (1 << 31) - 1)
    return np.concatenate([scaled, np.asarray(token, np.int64)]), np.array([mean, deviation])


def half_spectra(x: Int64, floor: int) -> tuple[Int64, Int64]:
    """The spectrum of x (N,): values (N,) in units of 2^-15, the real parts of bins 0 to N/2 - 1, then their imaginary
    parts, each half over its size; sizes (4,): of both, bin N/2, and the shift.

    The bins are `rfft_words` of x shifted left by `rfft_shift`. A size is the largest absolute value of its half, and
    floor / 2^16 shifted alike, at least 1. A quotient is (bin * m) / 2^(47 - t) rounded half up, (m, t) the size's
    `reciprocal`, at most 2^15 - 1.
    """
    shift = int(rfft_shift(np.asarray(x, np.int64))[0])
    words = rfft_words(np.asarray(x, np.int64) << shift)
    values, sizes = [], []
    for half in (words[:-1, 0], words[:-1, 1]):
        size = int(np.abs(half).max()) + max((floor << shift) >> 16, 1)
        m, t = reciprocal(size)
        values.append(np.minimum(round_shift(half * m, 47 - t), (1 << 15) - 1))
        sizes.append(size)
    return np.concatenate(values), np.array([*sizes, int(words[-1, 0]), shift])


def inverse_patch(
    values: Int64, sizes: Int64, patch: int, bits: int, extra: int, multiplier: int, shift: int, offset: int
) -> Int64:
    """The newest p of the N samples whose spectrum has halves `values` (N,), in units of 2^-bits, of these sizes (4,).

    Row r of the inverse transform, without its 1 / N: the sums over real and over imaginary halves of value * 2 (bin
    0: 1) * cosine or -sine, in units of 2^-30, are each rounded half up to whole values' units, then multiplied by
    their half's size; bin N/2 is added. That is rounded to 2^(sizes[3] + extra), saturated to 32 bits, `scale`d and
    moved by `offset`: to units of 2^-20 of the window's spread, saturated to 32 bits.
    """
    n = values.size
    rows, bins = np.arange(n - patch, n), np.arange(n // 2)
    cosine, sine = _around(np.outer(rows, bins) % n * (TURN >> log2_size(n)))
    weight = np.where(bins == 0, 1, 2)
    real = (values[: n // 2] * weight * cosine).sum(1)
    imaginary = -(values[n // 2 :] * weight * sine).sum(1)
    last = np.where(rows % 2, -sizes[2], sizes[2]) << bits
    words = round_shift(real, _ONE) * sizes[0] + round_shift(imaginary, _ONE) * sizes[1] + last
    found = saturate(round_shift(words, int(sizes[3]) + extra), 32)
    return saturate(scale(found, multiplier, shift) + offset, 32)


def _around(angle: Int64) -> tuple[Int64, Int64]:
    """Cosine and sine of `angle`, in 2048ths of a circle from 0 to 2047, in units of 2^-30."""
    sign = np.where(angle < TURN // 2, 1, -1)
    cosine, sine = turned(angle % (TURN // 2))
    return sign * cosine, sign * sine


def patch_errors(
    time: Int64, spectrum: Int64, newest: Int64, statistics: Int64, multiplier: int, shift: int, offset: int
) -> Int64:
    """(3,) mean squares of what was foretold minus what came, in standardised units squared, in units of 2^-16.

    time: int16 (p,), `scale`d and moved by `offset` to units of 2^-20 of the window's spread, saturated to 32 bits;
    spectrum: (p,) in these units. Both times the spread, plus the mean, less `newest` (p,), are rounded half up to
    units of 2^-14 and saturated to 22 bits (128 standard deviations); third are the newest values themselves. Sums of
    squares are divided by p and rounded half up.
    """
    mean, deviation = (int(value) for value in statistics)
    came = np.asarray(newest, np.int64) << STATISTICS_BITS
    found = []
    for z in (saturate(scale(time, multiplier, shift) + offset, 32), spectrum):
        found.append(round_shift(z * deviation, Z_BITS) + mean - came)
    found.append(-came)
    differences = [saturate(round_shift(difference, 11), 22) for difference in found]
    divisor = newest.size << 12
    return np.array([(int((d * d).sum()) + divisor // 2) // divisor for d in differences])
