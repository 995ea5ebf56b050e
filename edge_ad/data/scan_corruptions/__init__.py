"""Corruptions of LiDAR scans: a test tool, to measure what a detector notices. Nothing is ever fitted on them.

Models and severities are those of the Robo3D benchmark (Kong et al., ICCV 2023) for KITTI, written afresh from the
formulas. What would give a corrupted scan away for no physical reason is avoided: intensities stay in 0..1, values
keep the grid of the sensor (millimetres, hundredths), ranges do not repeat, counts are drawn at random, fog always
attenuates, and points keep the sensor's order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_ad.data.scan_corruptions import sensor, weather
from edge_ad.errors import UsageError
from edge_ad.runtime.scans import Points

SEVERITIES = ("light", "moderate", "heavy")
Corruption = Callable[[Points, int, np.random.Generator], Points]

CORRUPTIONS: dict[str, Corruption] = {
    "crosstalk": sensor.crosstalk,
    "cross-sensor": sensor.cross_sensor,
    "beam-missing": sensor.beam_missing,
    "motion-blur": sensor.motion_blur,
    "fog": weather.fog,
    "snow": weather.snow,
}


def corrupt(points: Points, kind: str, severity: str, rng: np.random.Generator) -> Points:
    """A corrupted copy of a scan (N, 4) float32, some points fewer. kind: of `CORRUPTIONS`; severity: of `SEVERITIES`.

    Raises UsageError for others.
    """
    if kind not in CORRUPTIONS:
        raise UsageError(f"unknown corruption '{kind}'", hint=f"there are: {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise UsageError(f"unknown severity '{severity}'", hint=f"there are: {', '.join(SEVERITIES)}")
    return on_grid(CORRUPTIONS[kind](points, SEVERITIES.index(severity), rng))


def on_grid(points: Points) -> Points:
    """Coordinates on the millimetre, intensities on the hundredth in 0..1, as KITTI stores them."""
    grid = np.empty_like(points)
    grid[:, :3] = np.rint(points[:, :3].astype(np.float64) * 1000) / 1000
    grid[:, 3] = np.clip(np.rint(points[:, 3].astype(np.float64) * 100) / 100, 0, 0.99)
    return grid
