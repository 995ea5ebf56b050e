"""Corruptions that arise in the sensor: crosstalk, another sensor, dead beams, vibration."""

from __future__ import annotations

import numpy as np

from edge_ad.runtime.scan_rings import ring_ids
from edge_ad.runtime.scans import Points

CROSSTALK_SHARE = (0.006, 0.008, 0.010)
CROSSTALK_M = 3.0
KEPT_EVERY = ((4, 3), (2, 1), (4, 1))  # of so many rings, how many stay
BEAMS_MISSING = (16, 32, 48)
BEAMS = (4, 59)  # those that may go missing: the outermost stay
_SLIP_POINTS = 500
BLUR_M = (0.04, 0.08, 0.10)


def crosstalk(points: Points, severity: int, rng: np.random.Generator) -> Points:
    """Some points are echoes of another sensor's pulses: N(0, 3 m) on each coordinate, and on the intensity."""
    hit = rng.random(len(points)) < CROSSTALK_SHARE[severity]
    changed = points.copy()
    changed[hit] += rng.normal(0, CROSSTALK_M, (int(hit.sum()), 4)).astype(np.float32)
    changed[hit, 3] = rng.uniform(0, 1, int(hit.sum()))  # a sum would pile up at both ends of the range
    return changed


def cross_sensor(points: Points, severity: int, rng: np.random.Generator) -> Points:
    """A sensor with fewer rings: rings dropped at regular spacing, then about every second point along each ring."""
    every, kept = KEPT_EVERY[severity]
    phase = int(rng.integers(every))
    stays = (ring_ids(points) + phase) % every < kept
    thinned = points[stays]
    # every second point, but one is left out now and then, as clocks drift: counts do not halve exactly
    slips = np.cumsum(rng.random(len(thinned)) < 1 / _SLIP_POINTS)
    return thinned[(np.arange(len(thinned)) + slips) % 2 == 0]


def beam_missing(points: Points, severity: int, rng: np.random.Generator) -> Points:
    """Dead beams: rings drawn with replacement, so that fewer than the nominal number vanish."""
    dead = np.unique(rng.integers(*BEAMS, BEAMS_MISSING[severity]))
    return points[~np.isin(ring_ids(points), dead)]


def motion_blur(points: Points, severity: int, rng: np.random.Generator) -> Points:
    """Vibration: one offset N(0, s) of the scan, and on each point N(0, s / 10), half of it upwards, clipped at 3 s."""
    size = BLUR_M[severity]
    jitter = rng.normal(0, 1, (len(points), 3)) * (0.1 * size, 0.1 * size, 0.05 * size)
    changed = points.copy()
    changed[:, :3] += (rng.normal(0, size, 3) + np.clip(jitter, -3 * size, 3 * size)).astype(np.float32)
    return changed
