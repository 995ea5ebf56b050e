"""From a LiDAR scan to a small image of numbers: the front end of host and device alike.

Cells are found by comparing against tables of float32 constants, and everything else is addition, multiplication,
division and square root, which IEEE 754 rounds in one way only: the same bytes on every machine. No angle is ever
computed: the azimuth is compared by a pseudo-angle that grows with it, the elevation by its tangent.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import PreprocessSpec
from edge_ad.errors import DataError
from edge_ad.runtime.scans import Points, checked

RANGE_IMAGE = "scan/range-image"
BEV_HISTOGRAM = "scan/bev-histogram"
VERSION = 1
RANGE_CHANNELS = ("occupancy", "range", "intensity", "range spread", "intensity spread")
BEV_CHANNELS = ("occupancy", "height", "intensity", "height spread", "intensity spread")
FINE = 8  # a cell is so many fine cells wide, in which spreads are taken
MORE_RINGS = 1.5  # more of them than so many times as expected is another sensor
_SPREAD_M = 0.25  # a spread of this size is shown as one half

Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
FeatureImage = npt.NDArray[np.float32]


def range_image_spec(
    *, rows: int, columns: int, elevation_deg: tuple[float, float], max_range_m: float, points_per_cell: float,
    rings: int | None,
) -> PreprocessSpec:  # fmt: skip
    """The spec of `range_image`."""
    return PreprocessSpec(
        name=RANGE_IMAGE, version=VERSION,
        params={
            "rows": rows, "columns": columns, "elevation_deg": list(elevation_deg), "max_range_m": max_range_m,
            "points_per_cell": points_per_cell, "rings": rings,
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
    max_range_m: float, points_per_cell: float, rings: int | None,
) -> FeatureImage:  # fmt: skip
    """A scan (N, 4) as (1, 5, rows, columns) float32, each value in 0..1; channels: `RANGE_CHANNELS`.

    Rows go from the highest elevation down, columns from straight behind counter-clockwise through a turn (x ahead, y
    left). Points outside `elevation_deg` count for the nearest row, those beyond `max_range_m` as at that range.

    occupancy: n / (n + points_per_cell) for n points. range: mean, of max_range_m. intensity: mean. range spread: the
    standard deviation of range in a fine cell, mean over the `FINE` fine cells of a cell that hold two points or more,
    as s / (s + 0.25 m). intensity spread: the same of the intensity, not squeezed. Empty cells are zero.

    rings: of the sensor, None to not count them. Raises DataError for points that cannot be a scan's, and for many
    more rings than the sensor has; fewer are for a detector to judge.
    """
    scan = _scan(points, rings)
    x, y, z, intensity = (scan[:, i].astype(np.float64) for i in range(4))
    ground = np.sqrt(x * x + y * y)
    distance = np.minimum(np.sqrt(ground * ground + z * z), max_range_m)
    turn, tangents = _range_tables(rows, columns * FINE, tuple(elevation_deg))
    # z / ground against a tangent, without dividing by a ground distance of zero
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(ground > 0, z / ground, np.where(z > 0, np.inf, -np.inf))
    row = rows - 1 - np.searchsorted(tangents, slope, side="right")
    column = np.searchsorted(turn, _pseudo_angle(x, y), side="right")
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


def count_rings(points: Points) -> int:
    """How many rings a scan in the order of its sensor has: how often the azimuth passes straight behind, or straight
    ahead, whichever is more, since a ring may begin at either. A point that jitters over such a seam goes both ways."""
    behind = _pseudo_angle(points[:, 0].astype(np.float64), points[:, 1].astype(np.float64)) / 4
    passed = []
    for share in (behind, (behind + 0.5) % 1.0):
        falls = int(((share[:-1] > 0.8) & (share[1:] < 0.2)).sum())
        rises = int(((share[:-1] < 0.2) & (share[1:] > 0.8)).sum())
        passed.append(abs(falls - rises))
    return max(1, *passed)


def _scan(points: npt.NDArray[np.generic], rings: int | None) -> Points:
    scan = checked(points)  # type: ignore[arg-type]
    if rings is not None and (found := count_rings(scan)) > MORE_RINGS * rings:
        raise DataError(
            f"has {found} rings, the detector was fitted on a sensor with {rings}",
            hint="fit a detector for this sensor",
        )
    return scan


def _pseudo_angle(x: Float64, y: Float64) -> Float64:
    """A number in [0, 4) that grows with the azimuth of (x, y) from straight behind, counter-clockwise."""
    size = np.abs(x) + np.abs(y)
    share = -y / np.where(size > 0, size, 1.0)  # the angle of (-x, -y), so that behind is 0
    angle = np.where(-x >= 0, share, 2.0 - share)
    angle = np.where(angle < 0, angle + 4.0, angle)
    return np.where(angle >= 4.0, 0.0, angle)


@lru_cache(maxsize=16)
def _range_tables(rows: int, columns: int, elevation_deg: tuple[float, float]) -> tuple[Float64, Float64]:
    """Pseudo-angles between columns and tangents between rows, both rising, rounded to float32."""
    turn = []
    for k in range(1, columns):
        angle = 2 * math.pi * k / columns - math.pi
        turn.append(float(_pseudo_angle(np.array([math.cos(angle)]), np.array([math.sin(angle)]))[0]))
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
    coarse = count.reshape(shape).sum(2)
    image[0] = coarse / (coarse + points_per_cell)
    several = count >= 2
    n_several = several.reshape(shape).sum(2)
    for index, values in ((1, first), (2, second)):
        sums = np.bincount(cell, values, total)
        image[index] = sums.reshape(shape).sum(2) / np.maximum(coarse, 1)
        mean = sums / np.maximum(count, 1)
        off = values - mean[cell]
        squares = np.bincount(cell, off * off, total)
        spread = np.where(several, np.sqrt(squares / np.maximum(count, 1)), 0.0)
        image[index + 2] = spread.reshape(shape).sum(2) / np.maximum(n_several, 1)
    image[3] /= image[3] + _SPREAD_M
    return image
