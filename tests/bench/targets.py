"""What each target's compiler does to the scores: the drift tables of docs/results.md, through the command line.

    python tests/bench/targets.py --work work/targets
    python tests/bench/targets.py --work work/targets --detector tspulse

Fits and compiles that are there already are kept, so that an interrupted run goes on.

All payloads of one bundle, judged on the same test data. The Jetson's run on ONNX Runtime's CPU provider, which
computes the same graph; their speed says nothing of a Jetson and is left out. Prints Markdown.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from edge_ad.data.scan_corruptions import corrupt
from edge_ad.runtime.scans import list_scans, read_scan

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("openvino-cpu", "onnx-cpu", "litert", "jetson-orin")
IMAGES = ("magnetic_tile", "kolektor_sdd", "elpv_poly", "deep_pcb")
KINDS = ("crosstalk", "cross-sensor", "beam-missing", "motion-blur", "fog", "snow")


class Case(NamedTuple):
    """A set, the model fitted on it, and how."""

    detector: str
    name: str
    data: Path
    model: str
    rate: float
    fit: list[str]


def edge_ad(*args: object) -> str:
    """Run the command line; its standard output."""
    command = [sys.executable, "-m", "edge_ad", *map(str, args)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def cases(shared: Path, work: Path) -> list[Case]:
    """Every set of every detector; folders that commands need are put together below `work`."""
    images = [shared / "images" / name for name in IMAGES]
    fader = ["--preset", "micro", "--steps", "400"]
    return [
        *(
            Case(f"efficientad {preset}", one.name, one, f"{one.name}-{preset}", 0.05,
                 ["--preset", preset, "--steps", str(steps)])
            for preset, steps in (("micro", 300), ("tiny", 200)) for one in images
        ),
        *(Case("fader micro", one.name, one, f"{one.name}-fader-micro", 0.05, fader) for one in images),
        Case("starnet small, the score that the fit chose", "kitti_drive_a", recorded_scans(shared, work),
             "kitti-starnet", 0.25, []),
        Case("starnet small, --score mahalanobis", "kitti_drive_a", recorded_scans(shared, work),
             "kitti-mahalanobis", 0.25, ["--score", "mahalanobis", "--steps", "100"]),
        *(
            Case("tspulse tiny", name, machines(shared, work, name), f"{name}-tspulse", 0.02, ["--steps", "600"])
            for name in ("asd", "smd")
        ),
    ]  # fmt: skip


def recorded_scans(shared: Path, work: Path) -> Path:
    """12 scans to fit on, the last six and corrupted copies of them to test with."""
    data = work / "kitti"
    if data.exists():
        return data
    scans = list_scans(shared / "lidar" / "kitti_drive_a")
    for split, paths in (("train", scans[:12]), ("test", scans[-6:])):
        (data / split / "good").mkdir(parents=True)
        for path in paths:
            shutil.copy(path, data / split / "good")
    rng = np.random.default_rng(7)
    for kind in KINDS:
        (data / "test" / kind).mkdir()
        for path in scans[-6:]:
            name = f"{path.name.split('.')[0]}.bin"
            corrupt(read_scan(path), kind, "moderate", rng).tofile(data / "test" / kind / name)
    return data


def machines(shared: Path, work: Path, name: str) -> Path:
    """The servers of ASD or SMD, as one set."""
    data = work / name
    for server in sorted(path for path in (shared / "series" / name).iterdir() if path.is_dir()):
        for part, folder in (("train", "train/good"), ("test", "test/server")):
            (data / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(server / f"{part}.csv.gz", data / folder / f"{server.name}.csv.gz")
    return data


def report(case: Case, work: Path) -> dict[str, Any]:
    """Fit unless there is a model, compile for every target, and return the compile report."""
    model, printed = work / case.model, work / f"{case.model}-targets.json"
    if not (model / "model.json").exists():
        edge_ad("fit", case.detector.split()[0], "--data", case.data, "--out", model, *case.fit)
    if not printed.exists():
        targets = [word for name in TARGETS for word in ("--target", name)]
        text = edge_ad(
            "compile", model, *targets, "--data", case.data, "--max-false-alarms", case.rate,
            "--out", work / f"{case.model}-targets.edgead", "--json",
        )  # fmt: skip
        printed.write_text(text)
    loaded: dict[str, Any] = json.loads(printed.read_text())
    return loaded


def row(case: Case, payload: dict[str, Any]) -> list[str]:
    """One line of the table."""
    test, drift = payload["test"], payload["drift"]
    return [
        case.name,
        f"{payload['target']} ({payload['precision']})",
        f"{test['auroc_float']['value']:.3f}",
        f"{test['auroc_compiled']['value']:.3f}",
        f"{test['auroc_change']['value']:+.4f}",
        f"{drift['rank_correlation']:.4f}",
        f"{drift['mean_shift']:+.2f}",
        f"{drift['spread']:.2f}",
        f"{drift['flips_kept']:.1%}",
        f"{drift['flips_recalibrated']:.1%}",
    ]


@click.command(help=__doc__.splitlines()[0])
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for models and bundles.")
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    help="Only these: 'efficientad micro', fader, or a model's folder.",
)
@click.option("--set", "sets", multiple=True, help="Only these sets.")
def main(work: Path, detectors: tuple[str, ...], sets: tuple[str, ...]) -> None:
    shared = Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data"))
    work.mkdir(parents=True, exist_ok=True)
    heads = ["set", "payload", "AUROC float", "compiled", "change", "rank correlation", "mean shift", "spread",
             "verdicts changed, float threshold", "own threshold"]  # fmt: skip
    before = None
    for case in cases(shared, work):
        if detectors and not {case.detector, case.detector.split()[0], case.model} & {*detectors}:
            continue
        if sets and case.name not in sets:
            continue
        if case.detector != before:
            print(
                f"\n{case.detector}\n\n| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads), flush=True
            )
            before = case.detector
        for payload in report(case, work)["payloads"]:
            print("| " + " | ".join(row(case, payload)) + " |", flush=True)


if __name__ == "__main__":
    main()
