"""Rings of a scan whose points stand in the order of its sensor, ring after ring, as KITTI's do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.scans import Points

Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

_END, _START = 0.8, 0.2  # shares of a turn: a ring ends beyond the one, the next begins before the other
_WINDOW = 7  # points of a median along the ring: up to three stray echoes among them move no seam


def ring_ids(points: Points) -> Index:
    """The ring of each point of a scan (N, 4), as (N,) counted from 0.

    A new ring begins where the azimuth passes straight ahead (the x axis), in whichever direction the sensor turns.
    KITTI's scans have their seam there, and begin with the highest ring. Scans in another order, or of a sensor that
    does not see all around, give one ring or few. Only correctly rounded operations: the same on every machine.
    """
    turn = _median(pseudo_angle(-points[:, 0].astype(np.float64), -points[:, 1].astype(np.float64)) / 4)
    passed = np.cumsum(_crossings(turn))
    if len(passed) and passed[-1] < 0:
        passed = -passed
    rings: Index = np.maximum.accumulate(np.maximum(passed, 0)).astype(np.intp)
    return rings


def count_rings(points: Points) -> int:
    """How many rings a scan (N, 4), N > 0, has after `ring_ids`."""
    return int(ring_ids(points)[-1]) + 1


def pseudo_angle(x: Float64, y: Float64) -> Float64:
    """A number in [0, 4) that grows with the azimuth of (x, y) from straight behind, counter-clockwise.

    On the diamond |x| + |y| = 1 instead of the circle, so that one division replaces the arc tangent.
    """
    size = np.abs(x) + np.abs(y)
    share = -y / np.where(size > 0, size, 1.0)  # the angle of (-x, -y), so that behind is 0
    angle = np.where(-x >= 0, share, 2.0 - share)
    angle = np.where(angle < 0, angle + 4.0, angle)
    wrapped: Float64 = np.where(angle >= 4.0, 0.0, angle)
    return wrapped


def _crossings(turn: Float64) -> Index:
    """1 at each point that is the first behind a seam, -1 where the seam is crossed the other way, else 0.

    Points in the middle of the turn are skipped, for the median of the two sides of a seam may be a stray echo; but
    only a few, for all others lie on a ring's own way from its start to its end.
    """
    outer = np.flatnonzero((turn > _END) | (turn < _START))
    side = (turn[outer] > _END).astype(np.intp)
    steps = np.zeros(len(turn), np.intp)
    steps[outer[1:]] = np.where(np.diff(outer) <= _WINDOW, side[:-1] - side[1:], 0)
    return steps


def _median(values: Float64) -> Float64:
    """Running median of `_WINDOW` values, mirrored at both ends; fewer values are as they are."""
    half = _WINDOW // 2
    if len(values) < _WINDOW:
        return values
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, half, mode="reflect"), _WINDOW)
    middle: Float64 = np.partition(windows, half, axis=1)[:, half]
    return middle
