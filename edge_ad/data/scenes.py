"""Generated LiDAR scans: a spinning sensor on a car that drives along streets of boxes, poles and trees.

For demonstrations, tests and measurements that need many scans of independent places. The scenes are plausible, not
real.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.data.samples import whole_or_nothing
from edge_ad.data.scan_corruptions import CORRUPTIONS, SEVERITIES, corrupt, on_grid
from edge_ad.errors import DataError, UsageError
from edge_ad.runtime.scans import Points

Float64 = npt.NDArray[np.float64]

REACH_M = 100.0
_NEAREST_M = 1.5
_MOUNT_M = 1.73  # of the sensor above the ground
_RANGE_NOISE_M = 0.02
_LOST = 0.03  # share of beams without an echo, whatever they meet


@dataclass(frozen=True)
class Sensor:
    """rings: beams from top to bottom, between two elevations; columns: of a turn."""

    rings: int = 64
    columns: int = 1024
    high_deg: float = 2.0
    low_deg: float = -24.0


@dataclass(frozen=True)
class Scene:
    """What a beam may meet. boxes: (n, 7) x, y, length, width, height, heading, brightness. poles: (m, 5) x, y, radius,
    height, brightness. slope: of the ground, in x and y. ground: its brightness."""

    boxes: Float64
    poles: Float64
    slope: tuple[float, float]
    ground: float


def draw_scene(rng: np.random.Generator) -> Scene:
    """A street: houses on both sides, cars on it and parked, trees and poles along it."""
    boxes = []
    for side in (-1, 1):
        x = -REACH_M
        while x < REACH_M:
            length = rng.uniform(8, 25)
            y = side * rng.uniform(9, 15)
            boxes.append(
                [x + length / 2, y + side * 5, length, 10, rng.uniform(4, 14), 0, rng.uniform(0.15, 0.5)]
            )
            x += length + (rng.uniform(0.5, 8) if rng.random() < 0.7 else 0)
    for _ in range(int(rng.integers(6, 16))):
        boxes.append(
            [rng.uniform(-60, 60), rng.choice([-1, 1]) * rng.uniform(2.6, 6), rng.uniform(3.8, 5), 1.8,
             rng.uniform(1.4, 2), rng.normal(0, 0.06), rng.uniform(0.05, 0.7)]
        )  # fmt: skip
    poles = [
        [rng.uniform(-70, 70), rng.choice([-1, 1]) * rng.uniform(6.5, 8.5), r, h, b]
        for r, h, b in zip(
            rng.choice([0.08, 0.25, 1.4], 24), rng.uniform(2.5, 7, 24), rng.uniform(0.1, 0.8, 24), strict=True
        )
    ]
    slope = (float(rng.normal(0, 0.01)), float(rng.normal(0, 0.008)))
    return Scene(np.array(boxes), np.array(poles), slope, float(rng.uniform(0.15, 0.35)))


def scan_scene(scene: Scene, at_x: float, rng: np.random.Generator, sensor: Sensor | None = None) -> Points:
    """A scan (N, 4) from `at_x` metres along the street, in KITTI's order: ring by ring from the top, each from
    straight ahead counter-clockwise; coordinates in millimetres, intensities in hundredths."""
    sensor = sensor or Sensor()
    elevation = np.deg2rad(np.linspace(sensor.high_deg, sensor.low_deg, sensor.rings))
    azimuth = 2 * np.pi * (np.arange(sensor.columns) + rng.uniform(0.1, 0.9)) / sensor.columns
    flat = np.stack([np.cos(azimuth), np.sin(azimuth)], 1)
    slopes = np.tan(elevation)
    distance = np.full((sensor.rings, sensor.columns), np.inf)
    brightness = np.zeros_like(distance)
    _meet_ground(scene, flat, slopes, distance, brightness, rng)
    for x, y, length, width, height, heading, bright in scene.boxes:
        near = _box_distance(flat, x - at_x, y, length, width, heading)
        _meet(near, height, slopes, distance, brightness, bright)
    for x, y, radius, height, bright in scene.poles:
        _meet(_pole_distance(flat, x - at_x, y, radius), height, slopes, distance, brightness, bright)
    return _echoes(flat, slopes, distance, brightness, rng)


def make_scenes(
    root: str | Path, seed: int, *, n_train: int = 48, n_test: int = 12,
    kinds: dict[str, tuple[str, ...]] | None = None, sensor: Sensor | None = None, frames: int = 4,
) -> Path:  # fmt: skip
    """Write a sample set below `root` and return it: .bin scans, the same for the same arguments, whole or not at all.

    train/good, test/good, and test/<kind>-<severity> with the same test scans corrupted. kinds: corruptions with their
    severities (all of them, moderate, by default). frames: scans of one street in a row, each 2 m further; test scans
    are of other streets. Raises DataError when `root` exists and is not an empty folder, or cannot be written.
    """
    kinds = dict.fromkeys(CORRUPTIONS, ("moderate",)) if kinds is None else kinds
    if wrong := [
        k for k, levels in kinds.items() if k not in CORRUPTIONS or not set(levels) <= set(SEVERITIES)
    ]:
        raise UsageError(
            f"unknown corruption or severity for '{wrong[0]}'", hint=f"there are: {', '.join(CORRUPTIONS)}"
        )
    folder = Path(root)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(
            "the folder for the sample set exists and is not empty", where=folder, hint="name another"
        )
    try:
        with whole_or_nothing(folder) as partial:
            for i in range(n_train):
                _write(partial / "train" / "good" / f"{i:04}.bin", _frame(seed, 0, i, frames, sensor))
            for i in range(n_test):
                clean = _frame(seed, 1, i, frames, sensor)
                _write(partial / "test" / "good" / f"{i:04}.bin", clean)
                for k, (kind, levels) in enumerate(kinds.items()):
                    for level in levels:
                        rng = np.random.default_rng((seed, 2, i, k, SEVERITIES.index(level)))
                        _write(
                            partial / "test" / f"{kind}-{level}" / f"{i:04}.bin",
                            corrupt(clean, kind, level, rng),
                        )
    except OSError as error:
        raise DataError(f"cannot write the sample set ({error.strerror})", where=folder) from error
    return folder


def _frame(seed: int, split: int, index: int, frames: int, sensor: Sensor | None) -> Points:
    street = index // frames
    scene = draw_scene(np.random.default_rng((seed, split, street)))
    rng = np.random.default_rng((seed, split, street, index))
    return scan_scene(scene, 2.0 * (index % frames), rng, sensor)


def _write(path: Path, points: Points) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(points.astype("<f4").tobytes())


def _meet_ground(
    scene: Scene,
    flat: Float64,
    slopes: Float64,
    distance: Float64,
    brightness: Float64,
    rng: np.random.Generator,
) -> None:
    """Horizontal distance at which each beam meets the sloping ground."""
    down = flat @ np.array(scene.slope) - slopes[:, None]
    with np.errstate(divide="ignore"):
        met = np.where(down > 1e-3, _MOUNT_M / np.maximum(down, 1e-3), np.inf)
    hit = met < distance
    distance[hit] = met[hit]
    rough = scene.ground * np.exp(0.15 * rng.standard_normal(distance.shape))
    brightness[hit] = (rough * np.minimum(1, 3 * _MOUNT_M / np.maximum(met, 1)))[hit]


def _meet(
    near: Float64, height: float, slopes: Float64, distance: Float64, brightness: Float64, bright: float
) -> None:
    """Put an upright thing at horizontal distance `near` (columns,) in the way of the beams that are low enough."""
    columns = np.flatnonzero(np.isfinite(near))
    if columns.size == 0:
        return
    at = near[columns]
    z = slopes[:, None] * at
    hit = (z < height - _MOUNT_M) & (at < distance[:, columns])
    distance[:, columns] = np.where(hit, at, distance[:, columns])
    brightness[:, columns] = np.where(hit, bright, brightness[:, columns])


def _box_distance(flat: Float64, x: float, y: float, length: float, width: float, heading: float) -> Float64:
    """Distance along each direction to an upright box, infinite where it passes by (slab method)."""
    c, s = np.cos(heading), np.sin(heading)
    turned = flat @ np.array([[c, -s], [s, c]])
    centre = np.array([x * c + y * s, -x * s + y * c])
    half = np.array([length / 2, width / 2])
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (centre - half) / turned, (centre + half) / turned
    enters, leaves = np.minimum(a, b).max(1), np.maximum(a, b).min(1)
    return np.where((enters > 0) & (enters <= leaves), enters, np.inf)


def _pole_distance(flat: Float64, x: float, y: float, radius: float) -> Float64:
    along = flat @ np.array([x, y])
    aside = x * x + y * y - along * along
    inside = radius * radius - aside
    return np.where((along > 0) & (inside > 0), along - np.sqrt(np.maximum(inside, 0)), np.inf)


def _echoes(
    flat: Float64, slopes: Float64, distance: Float64, brightness: Float64, rng: np.random.Generator
) -> Points:
    """The points of all beams that come back, with the noise of their ranges."""
    whole = distance * np.sqrt(1 + slopes[:, None] ** 2)
    seen = (whole > _NEAREST_M) & (whole < REACH_M) & (rng.random(distance.shape) > _LOST)
    ring, column = np.nonzero(seen)
    noisy = distance[ring, column] * (
        1 + _RANGE_NOISE_M * rng.standard_normal(len(ring)) / whole[ring, column]
    )
    xyz = np.stack([flat[column, 0] * noisy, flat[column, 1] * noisy, slopes[ring] * noisy], 1)
    intensity = np.clip(brightness[ring, column] * np.exp(0.2 * rng.standard_normal(len(ring))), 0, 0.99)
    return on_grid(np.concatenate([xyz, intensity[:, None]], 1).astype(np.float32))
