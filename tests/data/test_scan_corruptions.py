"""Corrupted scans: they change what they say, and nothing that would give them away for no physical reason."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.data.scan_corruptions import CORRUPTIONS, SEVERITIES, corrupt, weather
from edge_ad.data.scan_corruptions.__main__ import corrupt_folder, main
from edge_ad.data.scenes import drive
from edge_ad.errors import BundleError, DataError, UsageError
from edge_ad.runtime.scan_rings import count_rings, ring_ids
from edge_ad.runtime.scans import Points, list_scans, read_scan
from tests.support.scan_files import pcd, ring_scan, write_bin

PAIRS = [(kind, severity) for kind in CORRUPTIONS for severity in SEVERITIES]


@pytest.fixture(scope="module")
def clean() -> Points:
    return next(drive(11, 1, "32-beam"))


@pytest.fixture(scope="module")
def wide() -> Points:
    """A scan of 64 rings."""
    return ring_scan(64, 720, seed=4)


def _distance(points: Points) -> np.ndarray:
    return np.linalg.norm(points[:, :3].astype(np.float64), axis=1)


def _on_grid(values: np.ndarray, steps: int) -> bool:
    return np.array_equal((np.rint(values.astype(np.float64) * steps) / steps).astype(np.float32), values)


@pytest.mark.parametrize(("kind", "severity"), PAIRS)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_corruption_leaves_no_trivial_tell(clean: Points, kind: str, severity: str, seed: int) -> None:
    found = corrupt(clean, kind, severity, np.random.default_rng(seed))
    assert found.dtype == clean.dtype and found.ndim == 2 and found.shape[1] == 4 and found.flags.c_contiguous
    assert 0 < len(found) <= len(clean) and np.isfinite(found).all()
    assert _on_grid(found[:, :3], 1000) and _on_grid(found[:, 3], 100)
    assert found[:, 3].min() >= 0 and found[:, 3].max() <= np.float32(0.99)
    distance = _distance(found)
    assert min(0.9, _distance(clean).min()) <= distance.min() and distance.max() <= _distance(clean).max()
    # nothing piles up: no range is much more frequent than the most frequent one of the clean scan
    assert _most_frequent(distance) <= 2 * _most_frequent(_distance(clean)) + 5
    # the order of the sensor: rings one after the other; a shift to the left may carry the last points over the seam
    assert count_rings(found) <= count_rings(clean) + 1


def _stays(before: Points, after: Points) -> np.ndarray:
    """Which rows of `before` are rows of `after`."""
    one, other = (
        np.ascontiguousarray(p).view(np.uint64) * np.uint64([0x9E3779B97F4A7C15, 1]) for p in (before, after)
    )
    return np.isin(one.sum(axis=1), other.sum(axis=1))


def _most_frequent(distance: np.ndarray) -> int:
    return int(np.unique(np.round(distance, 3), return_counts=True)[1].max())


@pytest.mark.parametrize(("kind", "severity"), PAIRS)
def test_the_same_seed_gives_the_same_scan_and_the_clean_one_stays(
    clean: Points, kind: str, severity: str
) -> None:
    before = clean.copy()
    one, again, other = (corrupt(clean, kind, severity, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, again) and np.array_equal(clean, before)
    assert not np.array_equal(one, clean) and not np.array_equal(one, other)


def test_crosstalk_moves_the_share_of_points_that_it_says(wide: Points) -> None:
    for severity, share in zip(SEVERITIES, (0.006, 0.008, 0.010), strict=True):
        moved = []
        for seed in range(10):
            found = corrupt(wide, "crosstalk", severity, np.random.default_rng(seed))
            moved.append(1 - _stays(wide, found).mean())
        assert np.mean(moved) == pytest.approx(share, rel=0.06) and len(set(moved)) > 5


def test_another_sensor_has_the_rings_left_and_about_half_their_points(wide: Points) -> None:
    for severity, rings in zip(SEVERITIES, (48, 32, 16), strict=True):
        sizes = set()
        for seed in range(5):
            found = corrupt(wide, "cross-sensor", severity, np.random.default_rng(seed))
            sizes.add(len(found))
            assert count_rings(found) == rings
            assert len(found) == pytest.approx(rings / 64 * len(wide) / 2, rel=0.02)
            assert _stays(found, wide).all()
        assert len(sizes) > 1, "exact halves would tell"


def test_missing_beams_vanish_whole_and_others_stay_whole(wide: Points) -> None:
    ids = ring_ids(wide)
    for severity, drawn in zip(SEVERITIES, (16, 32, 48), strict=True):
        gone = []
        for seed in range(20):
            found = corrupt(wide, "beam-missing", severity, np.random.default_rng(seed))
            stays = _stays(wide, found)
            share = np.bincount(ids, stays) / np.bincount(ids)
            assert set(share) == {0.0, 1.0} and share[:4].all() and share[59:].all()
            gone.append((share == 0).sum())
        assert np.mean(gone) == pytest.approx(55 * (1 - (54 / 55) ** drawn), rel=0.05)


def test_motion_blur_shifts_all_points_alike_and_jitters_each(wide: Points) -> None:
    for severity, size in zip(SEVERITIES, (0.04, 0.08, 0.10), strict=True):
        shifts, jitters = [], []
        for seed in range(60):
            found = CORRUPTIONS["motion-blur"](wide, SEVERITIES.index(severity), np.random.default_rng(seed))
            moved = (found - wide)[:, :3]
            shifts.append(moved.mean(axis=0))
            jitters.append(moved.std(axis=0))
        assert np.std(shifts) == pytest.approx(size, rel=0.2)
        assert np.mean(jitters, axis=0) == pytest.approx([0.1 * size, 0.1 * size, 0.05 * size], rel=0.03)


def test_fog_attenuates_what_it_does_not_replace_and_never_looks_behind_an_object(clean: Points) -> None:
    replaced = []
    for severity in range(3):
        shares = []
        for seed in range(10):
            found = CORRUPTIONS["fog"](clean, severity, np.random.default_rng(seed))
            before, after = _distance(clean), _distance(found)
            assert (after <= before + 1e-3).all() and (after >= 0.9 - 1e-3).all()
            stays = (np.abs(after - before) < 1e-3) & (clean[:, 3] > 0)
            ratio = np.log(found[stays, 3] / clean[stays, 3]) / (-2 * before[stays])
            alpha = np.median(ratio)
            assert min(abs(alpha - a) for a in weather.FOG_ATTENUATION) < 1e-3
            assert np.quantile(np.abs(ratio - alpha), 0.95) < 1e-3
            shares.append(1 - stays.mean())
        replaced.append(np.mean(shares))
    assert replaced[0] < replaced[1] < replaced[2]


def test_the_echo_of_fog_lies_near_the_sensor_and_fades_with_its_density() -> None:
    grid, place, peak = weather._soft_echo(0.06)
    assert (np.diff(peak[grid > 10]) == 0).all(), "what lies behind the echo adds nothing to it"
    assert 1 < place[-1] < 10 and (place <= grid).all() and (peak[grid < 0.9] == 0).all()
    # by hand: at 200 m, the pulse's integral at the listening range that the table gives
    times = np.linspace(0, 40e-9, 20_001)
    at = place[-1] - 299_792_458 * times / 2
    overlap = np.clip((at - 0.9) / 0.1, 0, 1)
    wave = np.sin(np.pi * times / 40e-9) ** 2 * np.exp(-0.12 * at) / np.maximum(at, 0.5) ** 2 * overlap
    assert peak[-1] == pytest.approx(wave.sum() * (times[1] - times[0]), rel=0.02)
    assert weather._soft_echo(0.005)[2][-1] > peak[-1]


def test_snow_puts_flakes_before_objects_and_loses_the_faintest(clean: Points) -> None:
    lost, flakes, brightness = [], [], []
    for severity in range(3):
        rng = np.random.default_rng(3)
        found = CORRUPTIONS["snow"](clean, severity, rng)
        lost.append(1 - len(found) / len(clean))
        near = (_distance(found) < _distance(clean).min() - 0.5).sum()
        flakes.append(near)
        brightness.append(found[:, 3].mean())
    assert 0 < lost[0] < 0.1 and all(flakes)
    assert brightness[0] > brightness[1] > brightness[2]


def test_scans_of_other_scales_keep_theirs(clean: Points) -> None:
    eight_bits = clean.copy()
    eight_bits[:, 3] = np.rint(clean[:, 3] * 255)
    none = clean.copy()
    none[:, 3] = 0
    fine = (clean.astype(np.float64) * 1.00001234).astype(np.float32)  # on no grid
    for kind, severity in PAIRS:
        found = corrupt(eight_bits, kind, severity, np.random.default_rng(5))
        assert _on_grid(found[:, 3], 1) and 1 < found[:, 3].max() <= 255
        assert not corrupt(none, kind, severity, np.random.default_rng(5))[:, 3].any()
        assert not _on_grid(corrupt(fine, kind, severity, np.random.default_rng(5))[:, :3], 1000)


def test_unknown_names_and_what_is_no_scan_are_refused(clean: Points) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="unknown corruption 'rain'; there are: crosstalk"):
        corrupt(clean, "rain", "light", rng)
    with pytest.raises(UsageError, match="unknown severity 'extreme'; there are: light"):
        corrupt(clean, "fog", "extreme", rng)
    with pytest.raises(DataError, match="holds no points"):
        corrupt(clean[:0], "fog", "light", rng)


def test_a_folder_is_copied_corrupted_with_its_names(tmp_path: Path, clean: Points) -> None:
    write_bin(tmp_path / "in" / "a" / "1.bin", clean)
    (tmp_path / "in" / "2.bin.gz").write_bytes(gzip.compress(clean.tobytes()))
    (tmp_path / "in" / "3.pcd").write_bytes(pcd(clean, "binary"))
    assert corrupt_folder(tmp_path / "in", tmp_path / "out", "fog", "heavy", 7) == 3
    assert corrupt_folder(tmp_path / "in", tmp_path / "again", "fog", "heavy", 7) == 3
    written = list_scans(tmp_path / "out")
    assert [str(p.relative_to(tmp_path / "out")) for p in written] == ["2.bin", "3.bin", "a/1.bin"]
    for path in written:
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "out")).read_bytes()
        assert not np.array_equal(read_scan(path), clean)
    assert written[0].read_bytes() != written[1].read_bytes(), "each scan has random numbers of its own"


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path, clean: Points) -> None:
    write_bin(tmp_path / "in" / "1.bin", clean)
    arguments = [str(tmp_path / "in"), str(tmp_path / "out"), "--kind", "snow", "--severity", "light"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0 and done.output == f"{tmp_path / 'out'}: 1 scans, snow, light\n"
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1 and again.output.startswith(f"error: {tmp_path / 'out'}: is already there")
    assert again.output.count("\n") == 1


def test_nothing_is_left_behind_when_a_scan_cannot_be_read(tmp_path: Path, clean: Points) -> None:
    write_bin(tmp_path / "in" / "1.bin", clean)
    (tmp_path / "in" / "2.bin").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"2\.bin: its 6 bytes"):
        corrupt_folder(tmp_path / "in", tmp_path / "out", "fog", "light", 0)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    (tmp_path / "in" / "2.bin").rename(tmp_path / "in" / "1.pcd")
    with pytest.raises(DataError, match="has the name of another scan"):
        corrupt_folder(tmp_path / "in", tmp_path / "out", "fog", "light", 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no scans"):
        corrupt_folder(tmp_path / "empty", tmp_path / "out", "fog", "light", 0)
    (tmp_path / "in" / "1.pcd").unlink()
    with pytest.raises(BundleError, match="is already there"):
        corrupt_folder(tmp_path / "in", tmp_path / "empty", "fog", "light", 0)
