"""Rings of a scan whose points stand in the order of its sensor, ring after ring, as KITTI's do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.scans import Points

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]

_END, _START = 0.8, 0.2  # shares of a turn: a ring ends beyond the one, the next begins before the other
_WINDOW = 7  # points of a median along the ring: up to three stray echoes in a row move no seam


def ring_ids(points: Points) -> Index:
    """The ring of each point of a scan (N, 4), as (N,) counted from 0.

    A new ring begins where the azimuth passes straight ahead (the x axis), in whichever direction the sensor turns.
    KITTI's scans have their seam there, and begin with the highest ring. Scans in another order, or of a sensor that
    does not see all around, give one ring or few. Only correctly rounded operations: the same on every machine.
    """
    turn = _median(pseudo_angle(-points[:, 0].astype(np.float64), -points[:, 1].astype(np.float64)) / 4)
    passed = np.cumsum(_steps(turn > _END, turn < _START) - _steps(turn < _START, turn > _END))
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


def _steps(before: Bool, after: Bool) -> Index:
    """1 at each first point behind a seam, else 0: the last but one point is `before` it and the next is `after`.

    Over two points, because the median of both sides of a seam may be a stray echo in between.
    """
    crossing = np.zeros(len(before) + 1, np.bool_)
    crossing[1:-2] = before[:-2] & after[2:]
    return (crossing[:-1] & ~crossing[1:]).astype(np.intp)


def _median(values: Float64) -> Float64:
    """Running median of `_WINDOW` values; the first and last few are as they are."""
    half = _WINDOW // 2
    if len(values) < _WINDOW:
        return values
    out: Float64 = values.copy()
    windows = np.lib.stride_tricks.sliding_window_view(values, _WINDOW)
    out[half:-half] = np.partition(windows, half, axis=1)[:, half]
    return out
