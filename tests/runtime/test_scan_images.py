"""The front end of scans: what each cell holds, the same bytes everywhere, other sensors told apart."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.errors import DataError
from edge_ad.runtime.preprocess import preprocess
from edge_ad.runtime.scan_images import (
    BEV_CHANNELS,
    FINE,
    RANGE_CHANNELS,
    bev_histogram,
    bev_histogram_spec,
    range_image,
    range_image_spec,
)
from tests.support.scan_files import ring_scan

ROWS, COLUMNS = 4, 8
RANGE = {
    "rows": ROWS, "columns": COLUMNS, "elevation_deg": (-20.0, 20.0), "max_range_m": 50.0, "points_per_cell": 4.0,
    "rings": None,
}  # fmt: skip
BEV = {"cells": 8, "extent_m": 40.0, "height_m": (-3.0, 5.0), "points_per_cell": 4.0, "rings": None}


def _point(azimuth_deg: float, elevation_deg: float, distance: float, intensity: float = 0.5) -> list[float]:
    a, e = np.radians([azimuth_deg, elevation_deg])
    return [
        distance * np.cos(e) * np.cos(a),
        distance * np.cos(e) * np.sin(a),
        distance * np.sin(e),
        intensity,
    ]


def _scan(*points: list[float]) -> np.ndarray:
    return np.array(points, np.float32)


def _cell(image: np.ndarray) -> tuple[int, int]:
    """The one cell that is occupied."""
    rows, columns = np.nonzero(image[0, 0])
    assert len(rows) == 1
    return int(rows[0]), int(columns[0])


@pytest.mark.parametrize("azimuth", range(-170, 180, 20))
@pytest.mark.parametrize("elevation", [-15, -5, 5, 15])
def test_a_point_lies_in_the_cell_of_its_angles(azimuth: int, elevation: int) -> None:
    image = range_image(_scan(_point(azimuth, elevation, 10)), **RANGE)
    assert image.shape == (1, len(RANGE_CHANNELS), ROWS, COLUMNS) and image.dtype == np.float32
    # rows from the top, columns from behind counter-clockwise
    assert _cell(image) == ((20 - elevation) // 10, (azimuth + 180) * COLUMNS // 360)


def test_what_is_outside_the_rows_counts_for_the_nearest_one() -> None:
    for elevation, row in ((89.9, 0), (30, 0), (-30, ROWS - 1), (-89.9, ROWS - 1)):
        assert _cell(range_image(_scan(_point(7, elevation, 3)), **RANGE))[0] == row
    assert _cell(range_image(_scan([0, 0, 2, 0.1]), **RANGE))[0] == 0
    assert _cell(range_image(_scan([0, 0, -2, 0.1]), **RANGE))[0] == ROWS - 1


def test_channels_are_what_they_say() -> None:
    points = [_point(22.5, 5, d, i) for d, i in ((10, 0.2), (11, 0.4), (12, 0.6))]
    image = range_image(_scan(*points), **RANGE)
    row, column = _cell(image)
    spread = np.std([10, 11, 12])
    expected = [3 / (3 + 4), 11 / 50, 0.4, spread / (spread + 0.25), np.std([0.2, 0.4, 0.6])]
    assert image[0, :, row, column] == pytest.approx(expected, abs=1e-6)
    assert np.count_nonzero(image) == len(expected), "empty cells are zero"


def test_spreads_are_those_within_fine_cells() -> None:
    fine = 360 / COLUMNS / FINE
    first, second = 5 * fine + fine / 2 - 180, 6 * fine + fine / 2 - 180  # of one cell
    flat = [_point(first, 5, 10), _point(first, 5, 10), _point(second, 5, 30), _point(second, 5, 30)]
    image = range_image(_scan(*flat), **RANGE)[0]
    row, column = _cell(image[None])
    assert image[1, row, column] == pytest.approx(20 / 50) and image[3, row, column] == pytest.approx(
        0, abs=1e-4
    )
    alone = range_image(_scan(_point(first, 5, 10), _point(second, 5, 30)), **RANGE)[0]
    assert alone[3, row, column] == 0, "one point has no spread"


def test_what_is_farther_counts_as_at_the_largest_range() -> None:
    image = range_image(_scan(_point(0, 0, 400), _point(0, 0, 60)), **RANGE)
    row, column = _cell(image)
    assert image[0, 1, row, column] == 1 and image[0, 3, row, column] == 0


def test_from_above_ahead_is_up_and_left_is_left() -> None:
    for x, y, row, column in ((39, 39, 0, 0), (39, -39, 0, 7), (-39, 39, 7, 0), (1, 1, 3, 3), (-1, -1, 4, 4)):
        image = bev_histogram(_scan([x, y, 1.0, 0.5]), **BEV)
        assert _cell(image) == (row, column)
        assert image.shape == (1, len(BEV_CHANNELS), 8, 8) and image.dtype == np.float32
        assert image[0, :3, row, column] == pytest.approx([1 / 5, 4 / 8, 0.5])


def test_from_above_what_is_off_the_map_is_left_out_and_heights_are_bounded() -> None:
    points = _scan([41, 0, 0, 0.5], [0, -40, 0, 0.5], [5, 5, 99, 0.5], [-5, -5, -99, 0.5])
    image = bev_histogram(points, **BEV)[0]
    assert np.count_nonzero(image[0]) == 2 and sorted(image[1][image[0] > 0]) == [0, 1]


def test_rows_by_ring_follow_the_order_and_not_the_elevation() -> None:
    points = ring_scan(16, 90)
    rocking = points.copy()
    rocking[:, 2] += 0.5 * rocking[:, 0]  # pitched: elevations mix the rings
    params = {**RANGE, "rows": 16, "rings": 16, "binning": "ring"}
    upright, pitched = (range_image(scan, **params)[0, 0] for scan in (points, rocking))
    assert np.array_equal(upright, pitched) and (upright > 0).all()
    halves = range_image(points, **{**params, "rows": 8})[0, 0]
    assert halves == pytest.approx(np.full((8, COLUMNS), halves[0, 0]), rel=0.1)


def test_a_missing_ring_leaves_the_last_rows_empty() -> None:
    points = ring_scan(16, 90)
    params = {**RANGE, "rows": 16, "rings": 16, "binning": "ring"}
    occupancy = range_image(points[: 12 * 90], **params)[0, 0]
    assert (occupancy[:12] > 0).all() and not occupancy[12:].any()


def test_another_sensor_is_named_with_both_counts() -> None:
    points = ring_scan(32, 90)
    for make, params in ((range_image, RANGE), (bev_histogram, BEV)):
        with pytest.raises(DataError, match="has 32 rings, the detector was fitted on a sensor with 16"):
            make(points, **{**params, "rings": 16})
        assert make(points, **{**params, "rings": 64}).any(), "fewer rings are for the detector to judge"
    with pytest.raises(DataError, match="rows by ring need the sensor's number of rings"):
        range_image(points, **{**RANGE, "binning": "ring"})


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((0, 4), np.float32),
        np.ones((5, 3), np.float32),
        np.ones((5, 4)),
        np.full((5, 4), np.nan, np.float32),
    ],
)
def test_what_can_be_no_scan_is_refused(points: np.ndarray) -> None:
    for make, params in ((range_image, RANGE), (bev_histogram, BEV)):
        with pytest.raises(DataError):
            make(points, **params)


def test_points_at_the_origin_change_nothing() -> None:
    points = ring_scan()
    marked = np.insert(points, [0, 40, len(points)], 0, axis=0)
    for make, params in ((range_image, RANGE), (bev_histogram, BEV)):
        assert np.array_equal(make(points, **params), make(marked, **params))


def test_a_manifest_gives_the_same_image_as_the_function() -> None:
    points = ring_scan()
    for binning in ("elevation", "ring"):
        params = {**RANGE, "rings": 16, "binning": binning}
        spec = type(range_image_spec(**params)).model_validate_json(
            range_image_spec(**params).model_dump_json()
        )
        assert np.array_equal(preprocess(spec, points), range_image(points, **params))
    assert np.array_equal(preprocess(bev_histogram_spec(**BEV), points), bev_histogram(points, **BEV))


def _made_without_a_library(n: int) -> np.ndarray:
    """Points from integer arithmetic alone, so that they are the same with every NumPy."""
    state, values = 12345, []
    for _ in range(4 * n):
        state = (1103515245 * state + 12345) % 2**31
        values.append(state / 2**31)
    points = np.array(values).reshape(n, 4)
    return ((points - (0.5, 0.5, 0.5, 0)) * (80, 80, 8, 0.99)).astype(np.float32)


DIGESTS = {"elevation": "afec9bd23813f827", "ring": "9bd41da131e7f25c", "bev": "3cba70ff557d4fde"}


@pytest.mark.parametrize("name", ["elevation", "ring", "bev"])
def test_the_bytes_are_those_of_every_machine(name: str) -> None:
    points = _made_without_a_library(5000)
    if name == "bev":
        image = bev_histogram(points, **BEV)
    else:
        image = range_image(points, **{**RANGE, "rings": 5000, "binning": name})
    assert hashlib.sha256(image.astype("<f4").tobytes()).hexdigest()[:16] == DIGESTS[name]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.sampled_from([1e-3, 1.0, 100.0, 9000.0]))
def test_every_value_is_in_0_to_1_and_the_order_of_points_matters_little(
    seed: int, n: int, size: float
) -> None:
    rng = np.random.default_rng(seed)
    points = (rng.uniform(-1, 1, (n, 4)) * size).astype(np.float32)
    points[:, 3] = rng.uniform(0, 1, n)
    for make, params in ((range_image, RANGE), (bev_histogram, BEV)):
        image = make(points, **params)
        assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1
        assert make(points[::-1], **params) == pytest.approx(image, abs=1e-5)
