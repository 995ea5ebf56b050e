"""The ring of each point, found from the order of the points alone."""

from __future__ import annotations

import numpy as np
import pytest

from edge_ad.runtime.scan_rings import count_rings, pseudo_angle, ring_ids
from edge_ad.runtime.scans import list_scans, read_scan
from tests.support.scan_files import ring_scan


def _true_ids(rings: int, columns: int) -> np.ndarray:
    return np.repeat(np.arange(rings), columns)


@pytest.mark.parametrize("turning", [1, -1])
def test_rings_are_found_whichever_way_the_sensor_turns(turning: int) -> None:
    points = ring_scan(16, 90) * np.float32([1, turning, 1, 1])
    assert np.array_equal(ring_ids(points), _true_ids(16, 90))


def test_each_ring_may_see_less_than_a_turn_and_lack_echoes() -> None:
    rng = np.random.default_rng(1)
    ids = _true_ids(16, 360)
    azimuth = np.tile(np.arange(360), 16)
    keep = (rng.random(len(ids)) > 0.3) & ((azimuth < 100) | (azimuth > 140))
    assert np.array_equal(ring_ids(ring_scan(16, 360)[keep]), ids[keep])


def test_stray_echoes_move_no_seam() -> None:
    points = ring_scan(32, 360)
    rng = np.random.default_rng(2)
    for _ in range(20):
        stray = points.copy()
        # two in a hundred anywhere, and one right at every seam
        hit = np.concatenate([rng.choice(len(points), len(points) // 50), np.arange(32) * 360])
        stray[hit, :2] = rng.normal(0, 10, (len(hit), 2))
        assert (ring_ids(stray) == _true_ids(32, 360)).mean() > 0.995
        assert count_rings(stray) == 32


def test_points_that_jitter_over_the_seam_start_no_ring() -> None:
    points = ring_scan(8, 360)
    swapped = points.copy()
    for ring in range(1, 8):  # the last of a ring and the first of the next change places
        first = ring * 360
        swapped[[first - 1, first]] = points[[first, first - 1]]
    assert count_rings(swapped) == 8
    assert (ring_ids(swapped) == _true_ids(8, 360)).mean() > 0.99


def test_a_scan_in_no_order_or_with_few_points_is_one_ring_or_few() -> None:
    points = ring_scan(16, 90)
    by_column = points.reshape(16, 90, 4).transpose(1, 0, 2).reshape(-1, 4)
    assert count_rings(by_column) == 1
    ahead = points[points[:, 0] > np.abs(points[:, 1])]
    assert count_rings(ahead) <= 2
    for n in range(1, 9):
        assert ring_ids(points[:n]).tolist() == [0] * n


def test_the_pseudo_angle_grows_with_the_azimuth() -> None:
    azimuth = np.linspace(-np.pi, np.pi, 2001)[:-1]
    angle = pseudo_angle(np.cos(azimuth), np.sin(azimuth))
    assert angle[0] < 1e-12 and (np.diff(angle) > 0).all() and angle[-1] < 4
    assert pseudo_angle(np.array([-1.0, 0, 1, 0]), np.array([0.0, -1, 0, 1])).tolist() == [0, 1, 2, 3]
    assert pseudo_angle(np.array([-1.0, -1.0, 0.0]), np.array([1e-300, -0.0, 0.0])).tolist() == [0, 0, 0]


def test_kitti_scans_have_64_rings_each_at_its_elevation(data_folder) -> None:
    folder = data_folder / "lidar" / "kitti_drive_a" / "velodyne"
    if not folder.is_dir():
        pytest.skip("the KITTI scans are not on this machine (set EDGE_AD_DATA)")
    for path in list_scans(folder)[::5]:
        points = read_scan(path)
        ids = ring_ids(points)
        assert ids[-1] + 1 == 64
        elevation = np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))
        medians = np.array([np.median(elevation[ids == ring]) for ring in range(64)])
        assert (np.diff(medians) < 0).all() and 2 < medians[0] < 3.5 and -25 < medians[-1] < -22
