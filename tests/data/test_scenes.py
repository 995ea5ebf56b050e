"""Generated scans: what a LiDAR in a street gives, laid out as a data set, the same for the same arguments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_ad.data.scan_corruptions import CORRUPTIONS
from edge_ad.data.scenes import drive, make_scenes
from edge_ad.data.spinning_lidar import Pose, Sensor, scan_street
from edge_ad.data.street import Box, Cylinder, Street
from edge_ad.errors import BundleError, UsageError
from edge_ad.runtime.scan_rings import count_rings, ring_ids
from edge_ad.runtime.scans import checked, read_scan

SMALL = {
    "n_train": 4,
    "n_test_good": 2,
    "per_corruption": 3,
    "severities": ("moderate",),
    "sensor": "32-beam",
}
EXACT = Sensor(tuple(np.linspace(10, -20, 31)), 360, noise_m=0.0, lost=0.0)
HERE = Pose(0, 0, 0, 0, 0)


def _scan(
    *, boxes: tuple[Box, ...] = (), cylinders: tuple[Cylinder, ...] = (), pose: Pose = HERE, grade=(0.0, 0.0)
):
    street = Street(boxes, cylinders, grade, 5.0, 0.0)
    return scan_street(street, pose, EXACT, np.random.default_rng(0)).astype(np.float64)


def test_flat_ground_lies_at_the_sensors_height() -> None:
    points = _scan()
    assert points[:, 2] == pytest.approx(-EXACT.height_m, abs=2e-3) and len(points) > 1000


def test_sloping_ground_lies_on_its_plane() -> None:
    points = _scan(grade=(0.03, -0.01), pose=Pose(20, 3, 0, 0, 0))
    assert points[:, 2] == pytest.approx(0.03 * points[:, 0] - 0.01 * points[:, 1] - EXACT.height_m, abs=3e-3)


def test_walls_of_a_box_are_where_they_stand() -> None:
    box = Box(10.0, 4.0, (2.0, 1.0), 0.3, -1.0, 30.0, 0.9)
    points = _scan(boxes=(box,))
    above = points[points[:, 2] > -1.6]
    c, s = np.cos(-0.3), np.sin(-0.3)
    x, y = above[:, 0] - 10, above[:, 1] - 4
    across, along = np.abs(c * x - s * y) / 2.0, np.abs(s * x + c * y) / 1.0
    assert np.maximum(across, along) == pytest.approx(1, abs=3e-3) and len(above) > 100
    assert above[:, 0].max() < 10.5, "only the sides that face the sensor are seen"


def test_what_stands_behind_is_hidden_and_ground_too() -> None:
    front, back = (Box(x, 0.0, (0.5, 8.0), 0.0, -1.0, 30.0, 0.9) for x in (10, 20))
    points = _scan(boxes=(front, back))
    ahead = np.abs(np.arctan2(points[:, 1], points[:, 0])) < 0.6
    assert points[ahead, 0].max() < 9.51


def test_a_cylinder_is_round() -> None:
    points = _scan(cylinders=(Cylinder(0.0, -6.0, 1.5, -1.0, 30.0, 0.9),))
    above = points[points[:, 2] > -1.5]
    assert np.hypot(above[:, 0], above[:, 1] + 6) == pytest.approx(1.5, abs=3e-3) and len(above) > 100


def test_a_crown_lets_some_beams_pass_to_what_is_behind() -> None:
    crown = Cylinder(8.0, 0.0, 2.0, -1.0, 30.0, 0.9, porosity=0.5)
    wall = Box(30.0, 0.0, (0.5, 30.0), 0.0, -1.0, 60.0, 0.9)
    points = _scan(boxes=(wall,), cylinders=(crown,))
    level = points[(np.abs(np.arctan2(points[:, 1], points[:, 0])) < 0.15) & (points[:, 2] > -0.5)]
    passed = (level[:, 0] > 29).mean()
    assert 0.3 < passed < 0.7
    assert (level[level[:, 0] < 29, 0] > 6).all()


@pytest.mark.parametrize("yaw", [0.0, 1.0, -2.5])
def test_a_turned_sensor_sees_the_same_turned(yaw: float) -> None:
    box = Box(10.0, 4.0, (2.0, 1.0), 0.3, -1.0, 30.0, 0.9)
    points = _scan(boxes=(box,), pose=Pose(0, 0, yaw, 0, 0))
    above = points[points[:, 2] > -1.6]
    azimuth = np.arctan2(above[:, 1], above[:, 0])
    middle = np.arctan2(np.sin(azimuth).mean(), np.cos(azimuth).mean())
    off = (middle - (np.arctan2(4, 10) - yaw) + np.pi) % (2 * np.pi) - np.pi
    assert abs(off) < 0.05


@pytest.mark.parametrize(
    ("sensor", "rings", "low", "high"), [("64-beam", 64, 100_000, 134_000), ("32-beam", 32, 8_000, 11_600)]
)
def test_scans_look_like_a_spinning_sensors(sensor: str, rings: int, low: int, high: int) -> None:
    for seed in range(3):
        points = checked(next(drive(seed, 1, sensor)))
        assert low < len(points) < high
        assert abs(count_rings(points) - rings) <= 1
        elevation = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
        ids = ring_ids(points)
        assert (np.diff([np.median(elevation[ids == k]) for k in range(ids[-1] + 1)]) < 0).mean() > 0.95
        for values, steps in ((points[:, :3], 1000), (points[:, 3], 100)):
            assert np.array_equal(
                (np.rint(values.astype(np.float64) * steps) / steps).astype(np.float32), values
            )
        assert points[:, 3].min() >= 0 and 0.5 < points[:, 3].max() <= np.float32(0.99)


def test_frames_of_a_drive_move_on_and_drives_differ() -> None:
    first, second = drive(5, 2, "32-beam")
    other = next(drive(6, 1, "32-beam"))
    again = next(drive(5, 1, "32-beam"))
    assert not np.array_equal(first[:100], second[:100]) and not np.array_equal(first[:100], other[:100])
    assert len(again) > 0


def test_a_data_set_is_laid_out_and_the_same_each_time(tmp_path: Path) -> None:
    one, two = (make_scenes(tmp_path / name, 3, **SMALL) for name in ("one", "two"))
    files = sorted(str(p.relative_to(one)) for p in one.rglob("*.bin"))
    folders = {f"test/{kind}-moderate": 3 for kind in CORRUPTIONS} | {"train/good": 4, "test/good": 2}
    assert {f: sum(name.startswith(f + "/") for name in files) for f in folders} == folders
    assert len(files) == sum(folders.values())
    assert all((one / f).read_bytes() == (two / f).read_bytes() for f in files)
    scans = [read_scan(one / f) for f in files]
    assert len({scan.tobytes() for scan in scans}) == len(scans)


def test_counts_do_not_change_what_the_others_are(tmp_path: Path) -> None:
    few = make_scenes(tmp_path / "few", 3, **SMALL)
    more = make_scenes(
        tmp_path / "more", 3, **{**SMALL, "n_train": 5, "per_corruption": 4, "kinds": ("fog",)}
    )
    for name in ("train/good/000003.bin", "test/good/000001.bin", "test/fog-moderate/000002.bin"):
        assert (few / name).read_bytes() == (more / name).read_bytes()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_train": 0}, "cannot make 0 training"),
        ({"frames_per_drive": 0}, "0 a drive"),
        ({"n_test_good": 0}, "no good test scans to corrupt"),
        ({"kinds": ("rain",)}, "'rain' is none of crosstalk"),
        ({"severities": ("some",)}, "'some' is none of light"),
        ({"sensor": "1-beam"}, "'1-beam' is none of 64-beam"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path: Path, changed: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_scenes(tmp_path / "out", 0, **{**SMALL, **changed})
    assert not any(tmp_path.iterdir())


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is already there"):
        make_scenes(tmp_path, 0, **SMALL)
    with pytest.raises(UsageError, match="unknown sensor"):
        next(drive(0, 1, "1-beam"))
