"""Generated LiDAR scans of streets, clean and corrupted, in the folders of a data set.

For tables and tests that need more independent scans than there are recorded ones. Scenes are plausible, not real:
what a detector scores on them says little about a road.

    python -m edge_ad.data.scenes OUT --seed 1
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import numpy as np

from edge_ad.bundle.atomic import atomic_folder
from edge_ad.data.scan_corruptions import CORRUPTIONS, SEVERITIES, corrupt
from edge_ad.data.spinning_lidar import SENSORS, Pose, scan_street
from edge_ad.data.street import make_street
from edge_ad.errors import EdgeAdError, UsageError
from edge_ad.runtime.scans import Points

_SPLITS = {
    "train": 0,
    "test": 1,
    "corruption": 2,
}  # a stream of random numbers each, so counts do not interact
_SIGHT_M = 90.0
_FRAME_S = 0.5
_OWN_LANE_M = -1.2


def drive(seed: int | Sequence[int], n_frames: int, sensor: str = "64-beam") -> Iterator[Points]:
    """Scans (N, 4), half a second apart, of one car driving down one street of its own, at 5 to 14 m/s.

    The street, its slope and the car's speed come from `seed` alone. sensor: of `SENSORS`; with 64 beams a scan has
    about 125 000 points, with 32 about 11 000. Raises UsageError for another.
    """
    if sensor not in SENSORS:
        raise UsageError(f"unknown sensor '{sensor}'", hint=f"there are: {', '.join(SENSORS)}")
    rng = np.random.default_rng(seed)
    speed = float(rng.uniform(5, 14))
    street = make_street(rng, -_SIGHT_M, n_frames * _FRAME_S * speed + _SIGHT_M)
    for frame in range(n_frames):
        x, y = frame * _FRAME_S * speed, _OWN_LANE_M + rng.normal(0, 0.1)
        yaw, pitch, roll = rng.normal(0, np.radians([1.0, 0.3, 0.3]))
        yield scan_street(
            street, Pose(x, float(y), float(yaw), float(pitch), float(roll)), SENSORS[sensor], rng
        )


def make_scenes(
    root: str | Path, seed: int, *, n_train: int = 60, n_test_good: int = 20, per_corruption: int = 10,
    kinds: Sequence[str] = tuple(CORRUPTIONS), severities: Sequence[str] = SEVERITIES, sensor: str = "64-beam",
    frames_per_drive: int = 4, progress: Callable[[int, int], None] | None = None,
) -> Path:  # fmt: skip
    """Write a data set to the new folder `root` and return it: KITTI .bin files, the same for the same arguments.

    train/good and test/good come from drives of their own, `frames_per_drive` scans each; test/<kind>-<severity> are
    corrupted copies of test/good's, in turn. progress: called with the files written and the files to write.

    Raises UsageError for counts, kinds or a sensor that cannot be, BundleError when `root` exists or cannot be
    written.
    """
    _check(n_train, n_test_good, per_corruption, frames_per_drive, kinds, severities, sensor)
    pairs = [(kind, severity) for kind in kinds for severity in severities]
    total = n_train + n_test_good + per_corruption * len(pairs)
    root = Path(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with atomic_folder(root) as folder:
        for path, points in _files(
            seed, n_train, n_test_good, per_corruption, pairs, sensor, frames_per_drive
        ):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(points.astype("<f4").tobytes())
            written += 1
            if progress is not None:
                progress(written, total)
    return root


def _files(
    seed: int, n_train: int, n_test_good: int, per_corruption: int, pairs: Sequence[tuple[str, str]], sensor: str,
    frames_per_drive: int,
) -> Iterator[tuple[Path, Points]]:  # fmt: skip
    for i, scan in enumerate(_drives(seed, "train", n_train, sensor, frames_per_drive)):
        yield Path("train", "good", f"{i:06d}.bin"), scan
    for i, scan in enumerate(_drives(seed, "test", n_test_good, sensor, frames_per_drive)):
        yield Path("test", "good", f"{i:06d}.bin"), scan
        for kind, severity in pairs:
            stream = (list(CORRUPTIONS).index(kind), SEVERITIES.index(severity))
            for number in range(i, per_corruption, n_test_good):
                rng = np.random.default_rng((seed, _SPLITS["corruption"], *stream, number))
                name = Path("test", f"{kind}-{severity}", f"{number:06d}.bin")
                yield name, corrupt(scan, kind, severity, rng)


def _drives(seed: int, split: str, n: int, sensor: str, frames_per_drive: int) -> Iterator[Points]:
    for first in range(0, n, frames_per_drive):
        place = (seed, _SPLITS[split], first // frames_per_drive)
        yield from drive(place, min(frames_per_drive, n - first), sensor)


def _check(
    n_train: int, n_test_good: int, per_corruption: int, frames_per_drive: int, kinds: Sequence[str],
    severities: Sequence[str], sensor: str,
) -> None:  # fmt: skip
    if n_train < 1 or min(n_test_good, per_corruption) < 0 or frames_per_drive < 1:
        raise UsageError(
            f"cannot make {n_train} training, {n_test_good} good and {per_corruption} corrupted scans, "
            f"{frames_per_drive} a drive",
            hint="at least one training scan and one scan a drive are needed",
        )
    if per_corruption and not n_test_good:
        raise UsageError("there are no good test scans to corrupt", hint="make at least one")
    for given, known in ((kinds, CORRUPTIONS), (severities, SEVERITIES), ([sensor], SENSORS)):
        if unknown := [name for name in given if name not in known]:
            raise UsageError(f"'{unknown[0]}' is none of {', '.join(known)}")


@click.command(context_settings={"show_default": True})
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--seed", type=click.IntRange(min=0), default=0, help="The same seed gives the same scenes.")
@click.option("--n-train", type=click.IntRange(min=1), default=60, help="Scans in train/good.")
@click.option("--n-test-good", type=click.IntRange(min=0), default=20, help="Scans in test/good.")
@click.option(
    "--per-corruption", type=click.IntRange(min=0), default=10, help="Scans of each kind and severity."
)
@click.option("--frames-per-drive", type=click.IntRange(min=1), default=4, help="Scans of one street.")
@click.option("--sensor", type=click.Choice(list(SENSORS)), default="64-beam")
def main(
    out: Path,
    seed: int,
    n_train: int,
    n_test_good: int,
    per_corruption: int,
    frames_per_drive: int,
    sensor: str,
) -> None:
    """Write generated scans of streets to the new folder OUT: train/good, test/good, test/KIND-SEVERITY."""
    try:
        with click.progressbar(length=1000, label="scans", file=sys.stderr) as bar:
            make_scenes(
                out, seed, n_train=n_train, n_test_good=n_test_good, per_corruption=per_corruption, sensor=sensor,
                frames_per_drive=frames_per_drive,
                progress=lambda done, total: bar.update(1000 * done // total - bar.pos),
            )  # fmt: skip
    except EdgeAdError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
