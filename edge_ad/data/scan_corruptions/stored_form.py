"""How a scan's values are stored, so that a corrupted copy is stored in the same way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.scans import Points

Float64 = npt.NDArray[np.float64]

NEAREST_M = 0.9  # where sender and receiver begin to overlap: no echo is seen from nearer by
_STEPS_PER_UNIT = (1, 10, 100, 1000, 10_000)


@dataclass(frozen=True)
class StoredForm:
    """Steps per metre and per unit of intensity on which all values lie, None where they lie on none; the intensity
    that stands for full scale and the largest that can be stored; nearest and farthest range, in metres."""

    per_metre: int | None
    per_intensity: int | None
    full_scale: float
    brightest: float
    nearest_m: float
    farthest_m: float


def stored_form(points: Points) -> StoredForm:
    """The form of a clean scan (N, 4). Intensities above 1 are taken as of 8 bits."""
    per_metre = _grid(points[:, :3])
    per_intensity = _grid(points[:, 3])
    distance = _distance(points)
    eight_bits = bool(points[:, 3].max() > 1)
    full_scale = 255.0 if eight_bits else 1.0
    # KITTI's hundredths end at 0.99; other scans may use their full scale
    below = not eight_bits and per_intensity == 100 and points[:, 3].max() < 1
    brightest = 0.99 if below else full_scale
    brightest = brightest if points[:, 3].any() else 0.0  # the sensor gives none
    nearest, farthest = float(distance.min()), float(distance.max())
    return StoredForm(per_metre, per_intensity, full_scale, brightest, min(nearest, NEAREST_M), farthest)


def stored_as(points: Points, form: StoredForm) -> Points:
    """`points`, their intensities in 0..1, as the sensor of `form` would have stored them: on its grid, within its
    scale, without what lies nearer or farther than it sees."""
    stored = np.empty_like(points)
    stored[:, :3] = _on_grid(points[:, :3], form.per_metre)
    intensity = points[:, 3].astype(np.float64) * form.full_scale
    stored[:, 3] = np.clip(_on_grid(intensity, form.per_intensity), 0, form.brightest)
    distance = _distance(stored)
    return stored[(distance >= form.nearest_m) & (distance <= form.farthest_m)]


def _grid(values: npt.NDArray[np.float32]) -> int | None:
    """The fewest steps a unit on which every one of `values` lies."""
    return next((n for n in _STEPS_PER_UNIT if np.array_equal(_on_grid(values, n), values)), None)


def _on_grid(values: npt.NDArray[np.floating], steps: int | None) -> npt.NDArray[np.float32]:  # type: ignore[type-arg]
    if steps is None:
        return values.astype(np.float32)
    rounded: npt.NDArray[np.float32] = (np.rint(values.astype(np.float64) * steps) / steps).astype(np.float32)
    return rounded


def _distance(points: Points) -> Float64:
    distance: Float64 = np.sqrt((points[:, :3].astype(np.float64) ** 2).sum(axis=1))
    return distance
