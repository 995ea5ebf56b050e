"""AUROC of STARNet's figures for each corruption and severity, float and INT8, on real or generated scans."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from edge_ad import targets
from edge_ad.compile.capture import capture
from edge_ad.compile.scores import batches, run
from edge_ad.compile.target import Calibration
from edge_ad.compile.verify import open_lowered
from edge_ad.data.inputs import find_normals
from edge_ad.data.scan_corruptions import CORRUPTIONS, SEVERITIES, corrupt
from edge_ad.data.scenes import make_scenes
from edge_ad.detectors.starnet.config import PRESETS, SCORES
from edge_ad.detectors.starnet.fit import fit
from edge_ad.metrics.ranking import auroc
from edge_ad.runtime.heads import evaluate
from edge_ad.runtime.heads.likelihood_regret import two_sided
from edge_ad.runtime.preprocess import preprocess
from edge_ad.runtime.scans import list_scans, read_scan

PAIRS = [(kind, severity) for kind in CORRUPTIONS for severity in SEVERITIES]


@click.command()
@click.option(
    "--scans", type=click.Path(path_type=Path), help="Folder of clean scans in time order (default: KITTI)."
)
@click.option("--generated", is_flag=True, help="Generated streets, four scans each, instead of --scans.")
@click.option("--n-fit", default=12, help="The first so many are for fit, calibration and threshold.")
@click.option("--n-test", default=6, help="The last so many are tested, clean and corrupted.")
@click.option("--preset", default="small")
@click.option("--features", default="range-image")
@click.option("--steps", type=int)
@click.option("--repeats", default=1, help="Corrupted copies of each test scan.")
def main(
    scans: Path | None,
    generated: bool,
    n_fit: int,
    n_test: int,
    preset: str,
    features: str,
    steps: int | None,
    repeats: int,
) -> None:  # fmt: skip
    """Print one Markdown table."""
    changed = {"features": features} | ({} if steps is None else {"steps": steps})
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        paths = scans_of(root, scans, generated, n_fit, n_test)
        detector = fitted(preset, changed, paths[:n_fit], root)
        _print(detector, root, paths[-n_test:], repeats)


def scans_of(root: Path, scans: Path | None, generated: bool, n_fit: int, n_test: int) -> list[Path]:
    """Clean scans in the order of time: those of a folder, by default KITTI's, or generated ones."""
    if generated:
        made = make_scenes(root / "scenes", 1, n_train=n_fit, n_test_good=n_test, per_corruption=0)
        return [*list_scans(made / "train"), *list_scans(made / "test")]
    if scans is None:
        data = Path(os.environ.get("EDGE_AD_DATA", "../shared/data"))
        scans = data / "lidar" / "kitti_drive_a" / "velodyne"
    return list_scans(scans)


def fitted(preset: str, changed: dict, paths: Sequence[Path], root: Path):
    """A detector fitted on these scans, which then lie in `root`/data."""
    good = root / "data" / "train" / "good"
    good.mkdir(parents=True)
    for path in paths:
        (good / path.name).symlink_to(path.resolve())
    return fit(PRESETS[preset].model_copy(update=changed), root / "data", root / "model")


def corrupted_copies(spec, paths: Sequence[Path], repeats: int):
    """The preprocessed scans, and copies of them by corruption and severity."""
    tests = [read_scan(path) for path in paths]
    rng = np.random.default_rng(7)
    clean = [preprocess(spec.preprocess, scan) for scan in tests]
    return clean, {
        pair: [preprocess(spec.preprocess, corrupt(s, *pair, rng)) for s in tests for _ in range(repeats)]
        for pair in PAIRS
    }


def _print(detector, root: Path, tests: Sequence[Path], repeats: int) -> None:
    spec = detector.input
    normals = find_normals(detector.splits, root / "data", spec)
    calibration = list(batches(normals.calibration, spec))
    captured, target = capture(detector), targets.get("openvino-cpu")
    clean, corrupted = corrupted_copies(spec, tests, repeats)
    tables = {}
    for precision in ("fp32", "int8"):
        given = Calibration(lambda: iter(calibration), len(calibration))
        lowered = target.lower(captured, precision, given if precision == "int8" else None)
        engine = open_lowered(target, lowered, root / precision)
        head = detector.fit_head(run(engine, calibration), engine.parts)
        head = head.model_copy(update={"params": {**head.params, "search": True}})
        print(precision, *(d[1] for d in detector.decisions()), sep="\n  ", flush=True)

        def figures(inputs, engine=engine, head=head):
            also = [evaluate(head, engine.infer(x), engine.parts).also for x in inputs]
            return {
                n: two_sided(np.concatenate([a[n] for a in also]), head.params["ranges"][n]) for n in SCORES
            }

        normal = figures(clean)
        tables[precision] = {
            pair: {n: _auroc(normal[n], v) for n, v in figures(inputs).items()}
            for pair, inputs in corrupted.items()
        }
        tables[precision]["score"] = head.params["score"]
    score = tables["fp32"]["score"]
    print(f"\n| corruption | severity | {' | '.join(SCORES)} | bundle ({score}), INT8 |")
    print(f"| --- | --- | {' | '.join('---' for _ in SCORES)} | --- |")
    for pair in PAIRS:
        row = tables["fp32"][pair]
        int8 = tables["int8"][pair][tables["int8"]["score"]]
        print(f"| {' | '.join(pair)} | {' | '.join(f'{row[n]:.3f}' for n in SCORES)} | {int8:.3f} |")

    for name in SCORES:
        change = max(abs(tables["int8"][p][name] - tables["fp32"][p][name]) for p in PAIRS)
        print(f"largest change of {name} from float to INT8: {change:.3f}")


def _auroc(clean: np.ndarray, corrupted: np.ndarray) -> float:
    labels = np.repeat([0, 1], [len(clean), len(corrupted)])
    return auroc(labels, np.concatenate([clean, corrupted])).value


if __name__ == "__main__":
    main()
