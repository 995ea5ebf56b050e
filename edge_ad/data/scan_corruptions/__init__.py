"""Corruptions of LiDAR scans: a test tool, to measure what a detector notices. Nothing is ever fitted on them.

Models and severities are those of the Robo3D benchmark (Kong et al., ICCV 2023) for KITTI, written afresh from the
formulas. What would give a corrupted scan away for no physical reason is avoided: values keep the grid on which the
clean scan's lie (KITTI: millimetres, hundredths), intensities and ranges stay in the sensor's limits, ranges do not
pile up, counts are drawn at random, fog always attenuates, and points keep the sensor's order.

    python -m edge_ad.data.scan_corruptions IN OUT --kind fog --severity moderate --seed 1
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_ad.data.scan_corruptions import sensor, weather
from edge_ad.data.scan_corruptions.stored_form import stored_as, stored_form
from edge_ad.errors import UsageError
from edge_ad.runtime.scans import Points, checked

_GREY = 0.3
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

    Intensities may be of 0..1 or of 0..255. Cross-sensor and missing beams need points in the sensor's order, ring
    after ring (`ring_ids`). Raises UsageError for an unknown kind or severity, DataError for points that are no scan.
    """
    if kind not in CORRUPTIONS:
        raise UsageError(f"unknown corruption '{kind}'", hint=f"there are: {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise UsageError(f"unknown severity '{severity}'", hint=f"there are: {', '.join(SEVERITIES)}")
    checked(points)
    form = stored_form(points)
    scaled = points.copy()
    # a scan without intensities is one of grey things; it is stored without them again
    scaled[:, 3] = scaled[:, 3] / np.float32(form.full_scale) if form.brightest > 0 else _GREY
    return stored_as(CORRUPTIONS[kind](scaled, SEVERITIES.index(severity), rng), form)
