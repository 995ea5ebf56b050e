"""The FFT of real samples, in integers: one exponent for a whole transform (block floating point).

N samples, N a power of two from 64 to 2048, are read as N/2 complex values, transformed in place by radix-2
butterflies, decimation in time, and split into the bins 0 to N/2 (Sorensen et al., "Real-valued fast Fourier
transform algorithms", IEEE TASSP 35(6), 1987, section IV). Work is in 32 bits: N words.

Samples are first shifted until the largest has 30 - log2(N) bits. No component of any stage can then exceed 2^30,
because |X[k]| <= N * max |x|, so that no stage has to be scaled: one exponent, known before the first butterfly.
Rounding happens at twiddle products only (half up), with 2^-30 for their unit.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from edge_ad.runtime.integer.arithmetic import Int64, magnitude_bits, round_shift, shift_rounded

LOG2_SIZES = range(6, 12)
_HEADROOM = 30  # log2 of what no component exceeds
TURN = 2048  # twiddles to a full circle
_ONE = 30  # fractional bits of a twiddle


@cache
def quarter_wave() -> Int64:
    """(513,) sin(2 pi i / 2048) of the first quarter, in units of 2^-30."""
    return np.array([round(math.sin(2 * math.pi * i / TURN) * 2**_ONE) for i in range(TURN // 4 + 1)])


def rfft_shift(samples: Int64) -> Int64:
    """(…, 1) by how many bits samples (…, N), of at most 31 bits, are shifted left (right where negative)."""
    bits = magnitude_bits(samples, axis=-1, keepdims=True)
    return np.asarray(_HEADROOM - log2_size(samples.shape[-1]) - bits, np.int64)


def rfft_words(samples: Int64) -> Int64:
    """Bins (…, N/2 + 1, 2), real and imaginary parts, of samples (…, N) with |x| <= 2^(30 - log2(N))."""
    n = samples.shape[-1]
    log2_size(n)
    z = _transform(np.asarray(samples, np.int64).reshape(*samples.shape[:-1], n // 2, 2))
    return _split(z)


def rfft(samples: Int64) -> tuple[Int64, Int64]:
    """(bins (…, N/2 + 1, 2) of 16 bits, exponent (…,)): the transform of int16 samples (…, N) is bins * 2^exponent.

    The largest component of a transform takes all 16 bits: rounded half up, what would be 2^15 is 2^15 - 1. The
    exponent of samples that are all zero is that of any samples below 2^1; their bins are zero.
    """
    shift = rfft_shift(samples)
    words = rfft_words(shift_rounded(samples, shift))
    down = np.maximum(magnitude_bits(words, axis=(-2, -1)) - 15, 0)
    bins = np.minimum(round_shift(words, down[..., None, None]), 2**15 - 1)
    return bins, down - shift[..., 0]


def log2_size(n: int) -> int:
    """log2 of a size that can be transformed. Raises ValueError for others."""
    if n.bit_length() - 1 not in LOG2_SIZES or n & (n - 1):
        sizes = ", ".join(str(1 << k) for k in LOG2_SIZES)
        raise ValueError(f"a transform of {n} samples: there are {sizes}")
    return n.bit_length() - 1


def turned(angle: Int64) -> tuple[Int64, Int64]:
    """Cosine and sine of `angle`, in 2048ths of a circle from 0 to 1024, with 30 fractional bits."""
    wave, quarter = quarter_wave(), TURN // 4
    sine = wave[quarter - np.abs(angle - quarter)]
    cosine = np.where(
        angle <= quarter, wave[np.maximum(quarter - angle, 0)], -wave[np.maximum(angle - quarter, 0)]
    )
    return np.asarray(cosine, np.int64), sine


def _product(real: Int64, imaginary: Int64, angle: Int64) -> tuple[Int64, Int64]:
    """(real + i imaginary) * exp(-i angle), in units of 2^-30."""
    c, s = turned(angle)
    return real * c + imaginary * s, imaginary * c - real * s


@cache
def _backwards(bits: int) -> Int64:
    """Each index of so many bits, read backwards."""
    return np.array([int(f"{i:0{bits}b}"[::-1], 2) for i in range(1 << bits)])


def _transform(z: Int64) -> Int64:
    """The complex transform of z (…, M, 2), in natural order."""
    m = z.shape[-2]
    bits = m.bit_length() - 1
    z = np.ascontiguousarray(z[..., _backwards(bits), :])
    for half in (1 << k for k in range(bits)):
        pairs = z.reshape(*z.shape[:-2], m // (2 * half), 2, half, 2)
        upper, lower = pairs[..., 0, :, :], pairs[..., 1, :, :]
        angle = np.arange(half) * (TURN // 2 // half)
        product = round_shift(np.stack(_product(lower[..., 0], lower[..., 1], angle), axis=-1), _ONE)
        z = np.stack([upper + product, upper - product], axis=-3).reshape(z.shape)
    return z


def _split(z: Int64) -> Int64:
    """The bins of 2M real samples from the transform z (…, M, 2) of their even (real) and odd (imaginary) ones."""
    m = z.shape[-2]
    around = np.concatenate([z, z[..., :1, :]], axis=-2)  # Z[M] = Z[0]
    a, b = around, around[..., ::-1, :]
    angle = np.arange(m + 1) * (TURN // 2 // m)
    # Twice the even part is a + conj(b); twice the odd part is (a - conj(b)) / i, turned by the angle.
    real, imaginary = _product(a[..., 1] + b[..., 1], b[..., 0] - a[..., 0], angle)
    twice = np.stack([a[..., 0] + b[..., 0], a[..., 1] - b[..., 1]], axis=-1) << _ONE
    return round_shift(twice + np.stack([real, imaginary], axis=-1), _ONE + 1)
