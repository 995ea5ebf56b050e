"""Distances of a vector from what is normal, in integers: what boards compute, to the bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_ad.runtime.integer.functions import Int64, scale

WHITE_BITS = 10  # fractional bits of a whitened value
MOST_WHITE = (1 << 24) - 1
_INT32 = (1 << 31) - 1


@dataclass(frozen=True)
class Gaussian:
    """centre (n,) int32. whitening: int16, (rows, n), or (n,) of a diagonal one. shifts (rows,) or (n,): whitened =
    whitening * (x - centre) / 2^shift."""

    centre: Int64
    whitening: Int64
    shifts: Int64


def row_sums(x: Int64) -> Int64:
    """(rows,) sums of x (rows, length) int16, length at most 2^15: exact."""
    found: Int64 = np.asarray(x, np.int64).sum(axis=-1)
    return found


def mahalanobis(x: Int64, gaussians: list[Gaussian], shift: int) -> int:
    """The least squared Mahalanobis distance of x (n,) int32 from several Gaussians, as in the selective Mahalanobis of
    DCASE's baseline (Harada et al., arXiv 2303.00455): int32, in units of 2^(shift - 20).

    Each whitened value is rounded half up and kept within 2^24; their squares' sum is exact, shifted and rounded half
    up, and kept in 32 bits. Differences from a centre are kept within 2^31 - 1 either way.
    """
    return min(_distance(np.asarray(x, np.int64), gaussian, shift) for gaussian in gaussians)


def _distance(x: Int64, gaussian: Gaussian, shift: int) -> int:
    difference = np.clip(x - gaussian.centre, -_INT32, _INT32)
    whitening = np.asarray(gaussian.whitening, np.int64)
    products = whitening * difference if whitening.ndim == 1 else whitening @ difference
    shifts = np.asarray(gaussian.shifts, np.int64)
    half = np.where(shifts > 0, np.int64(1) << np.maximum(shifts - 1, 0), 0)
    white = np.clip((products + half) >> shifts, -MOST_WHITE, MOST_WHITE)
    total = int((white * white).sum())
    return min((total + (1 << shift >> 1)) >> shift, _INT32)


def two_sided(x: int, centre: int, below: tuple[int, int], above: tuple[int, int]) -> int:
    """The distance of x from `centre`, both int32, times a factor for that side: int32, never negative.

    below, above: multiplier and shift. The difference is kept within 2^31 - 1, the product rounded half up.
    """
    off = x - centre
    multiplier, shift = above if off >= 0 else below
    distance = np.array(min(abs(off), _INT32), np.int64)
    return min(int(scale(distance, multiplier, shift)), _INT32)
