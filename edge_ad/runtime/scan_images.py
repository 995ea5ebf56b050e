"""From a LiDAR scan to a small image of numbers: the front end of host and device alike.

Cells are found by comparing against tables of float32 constants, and everything else is addition, multiplication,
division and square root, which IEEE 754 rounds in one way only: the same bytes on every machine. No angle is ever
computed: the azimuth is compared by a pseudo-angle that grows with it, the elevation by its tangent.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import PreprocessSpec
from edge_ad.errors import DataError
from edge_ad.runtime.scan_rings import count_rings, pseudo_angle, ring_ids
from edge_ad.runtime.scans import Points, checked, echoes

__all__ = [
    "BEV_CHANNELS", "BEV_HISTOGRAM", "RANGE_CHANNELS", "RANGE_IMAGE", "VERSION", "bev_histogram", "bev_histogram_spec",
    "count_rings", "range_image", "range_image_spec",
]  # fmt: skip

RANGE_IMAGE = "scan/range-image"
BEV_HISTOGRAM = "scan/bev-histogram"
VERSION = 1
RANGE_CHANNELS = ("occupancy", "range", "intensity", "range spread", "intensity spread")
BEV_CHANNELS = ("occupancy", "height", "intensity", "height spread", "intensity spread")
FINE = 8  # a cell is so many fine cells wide, in which spreads are taken; a power of two
MORE_RINGS = 1.5  # more of them than so many times as expected is another sensor
_SPREAD_M = 0.25  # a spread of this size is shown as one half

Binning = Literal["elevation", "ring"]
Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
FeatureImage = npt.NDArray[np.float32]


def range_image_spec(
    *, rows: int, columns: int, elevation_deg: tuple[float, float], max_range_m: float, points_per_cell: float,
    rings: int | None, binning: Binning = "elevation",
) -> PreprocessSpec:  # fmt: skip
    """The spec of `range_image`."""
    return PreprocessSpec(
        name=RANGE_IMAGE, version=VERSION,
        params={
            "rows": rows, "columns": columns, "elevation_deg": list(elevation_deg), "max_range_m": max_range_m,
            "points_per_cell": points_per_cell, "rings": rings, "binning": binning,
        },
    )  # fmt: skip


def bev_histogram_spec(
    *, cells: int, extent_m: float, height_m: tuple[float, float], points_per_cell: float, rings: int | None
) -> PreprocessSpec:
    """The spec of `bev_histogram`."""
    return PreprocessSpec(
        name=BEV_HISTOGRAM, version=VERSION,
        params={"cells": cells, "extent_m": extent_m, "height_m": list(height_m),
                "points_per_cell": points_per_cell, "rings": rings},
    )  # fmt: skip


def range_image(
    points: npt.NDArray[np.generic], *, rows: int, columns: int, elevation_deg: tuple[float, float],
    max_range_m: float, points_per_cell: float, rings: int | None, binning: Binning = "elevation",
) -> FeatureImage:  # fmt: skip
    """A scan (N, 4) as (1, 5, rows, columns) float32, each value in 0..1; channels: `RANGE_CHANNELS`.

    Rows go from the highest elevation down, columns from straight behind counter-clockwise through a turn (x ahead, y
    left). binning: rows by elevation, also for scans in no order and for those corrected for the sensor's own motion;
    or by ring, the `rings` of a scan in the sensor's order spread evenly over the rows. Points outside `elevation_deg`
    count for the nearest row, those beyond `max_range_m` as at that range; points at the very origin are no echoes.

    occupancy: n / (n + points_per_cell) for n points. range: mean, of max_range_m. intensity: mean. range spread: the
    standard deviation of range in a fine cell, mean over the `FINE` fine cells of a cell that hold two points or more,
    as s / (s + 0.25 m). intensity spread: the same of the intensity, not squeezed. Empty cells are zero.

    rings: of the sensor, None to not count them. Raises DataError for points that cannot be a scan's, for many more
    rings than the sensor has (fewer are for a detector to judge), and for ring binning without `rings`.
    """
    scan = _scan(points, rings)
    x, y, z, intensity = (scan[:, i].astype(np.float64) for i in range(4))
    ground = np.sqrt(x * x + y * y)
    distance = np.minimum(np.sqrt(ground * ground + z * z), max_range_m)
    turn, tangents = _range_tables(rows, columns * FINE, tuple(elevation_deg))
    if binning == "ring":
        row = _ring_rows(scan, rows, rings)
    else:
        # straight up and down have no slope: a large one stands for them
        slope = np.divide(z, ground, out=np.where(z > 0, np.inf, -np.inf), where=ground > 0)
        row = rows - 1 - np.searchsorted(tangents, slope, side="right")
    column = np.searchsorted(turn, pseudo_angle(x, y), side="right")
    image = _channels(row, column, rows, columns, distance, intensity, points_per_cell)
    image[1] /= max_range_m
    return image.astype(np.float32)[None]


def bev_histogram(
    points: npt.NDArray[np.generic], *, cells: int, extent_m: float, height_m: tuple[float, float],
    points_per_cell: float, rings: int | None,
) -> FeatureImage:  # fmt: skip
    """A scan (N, 4) seen from above as (1, 5, cells, cells) float32, each value in 0..1; channels: `BEV_CHANNELS`.

    Rows go from `extent_m` ahead to as far behind, columns from as far left to right; points further off are left
    out. height: mean, from 0 to 1 over `height_m`; the others, `rings` and errors as in `range_image`.
    """
    scan = _scan(points, rings)
    x, y, z, intensity = (scan[:, i].astype(np.float64) for i in range(4))
    edges = np.arange(1, cells) * (2 * extent_m / cells) - extent_m
    fine = np.arange(1, cells * FINE) * (2 * extent_m / (cells * FINE)) - extent_m
    near = (np.abs(x) < extent_m) & (np.abs(y) < extent_m)
    row = cells - 1 - np.searchsorted(edges, x[near], side="right")
    column = cells * FINE - 1 - np.searchsorted(fine, y[near], side="right")
    low, high = height_m
    height = np.clip(z[near], low, high) - low
    image = _channels(row, column, cells, cells, height, intensity[near], points_per_cell)
    image[1] /= high - low
    return image.astype(np.float32)[None]


def _scan(points: npt.NDArray[np.generic], rings: int | None) -> Points:
    scan = echoes(checked(points))  # type: ignore[arg-type]
    if rings is not None and (found := count_rings(scan)) > MORE_RINGS * rings:
        raise DataError(
            f"has {found} rings, the detector was fitted on a sensor with {rings}",
            hint="fit a detector for this sensor",
        )
    return scan


def _ring_rows(scan: Points, rows: int, rings: int | None) -> Index:
    if rings is None:
        raise DataError(
            "rows by ring need the sensor's number of rings", hint="name it, or take rows by elevation"
        )
    return np.minimum(ring_ids(scan), rings - 1) * rows // rings


@lru_cache(maxsize=16)
def _range_tables(rows: int, columns: int, elevation_deg: tuple[float, float]) -> tuple[Float64, Float64]:
    """Pseudo-angles between columns and tangents between rows, both rising, rounded to float32."""
    turn = []
    for k in range(1, columns):
        angle = 2 * math.pi * k / columns - math.pi
        turn.append(float(pseudo_angle(np.array([math.cos(angle)]), np.array([math.sin(angle)]))[0]))
    low, high = elevation_deg
    step = (high - low) / rows
    tangents = [math.tan(math.radians(low + k * step)) for k in range(1, rows)]
    return np.array(turn, np.float32).astype(np.float64), np.array(tangents, np.float32).astype(np.float64)


def _channels(
    row: Index,
    column: Index,
    rows: int,
    columns: int,
    first: Float64,
    second: Float64,
    points_per_cell: float,
) -> Float64:
    """(5, rows, columns): occupancy, means of `first` and `second`, and their spreads. column: of a fine cell."""
    shape = (rows, columns, FINE)
    cell = row * (columns * FINE) + column
    total = rows * columns * FINE
    count = np.bincount(cell, minlength=total).astype(np.float64)
    image = np.zeros((5, rows, columns))
    coarse = _over_fine(count, shape)
    image[0] = coarse / (coarse + points_per_cell)
    several = count >= 2
    n_several = _over_fine(several.astype(np.float64), shape)
    for index, values in ((1, first), (2, second)):
        sums = np.bincount(cell, values, total).astype(np.float64, copy=False)
        image[index] = _over_fine(sums, shape) / np.maximum(coarse, 1)
        mean = sums / np.maximum(count, 1)
        off = values - mean[cell]
        squares = np.bincount(cell, off * off, total)
        spread = np.where(several, np.sqrt(squares / np.maximum(count, 1)), 0.0)
        image[index + 2] = _over_fine(spread, shape) / np.maximum(n_several, 1)
    image[3] /= image[3] + _SPREAD_M
    return image


def _over_fine(values: Float64, shape: tuple[int, int, int]) -> Float64:
    """Sums over the fine cells of each cell, in an order of ours: that of `sum` may change between releases."""
    total = values.reshape(shape)
    for _ in range(FINE.bit_length() - 1):
        total = total[..., 0::2] + total[..., 1::2]
    return total.reshape(shape[:2])
