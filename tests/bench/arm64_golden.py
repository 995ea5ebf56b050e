"""How far arm64 is from the golden vectors of an x86-64 host: the table of docs/deployment.md.

    python tests/bench/arm64_golden.py --work work/arm64          (fits and bundles are kept there)

Every detector's `micro` preset on generated data, compiled here, proven on two emulated processors (tests/support/
arm64.py says what that takes). Emulated times say nothing of a device and are left out. Prints Markdown.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import arm64

from edge_ad.data.sample_series import make_series
from edge_ad.data.samples import make_parts
from edge_ad.data.scenes import make_scenes

DETECTORS = ("efficientad", "fader", "starnet", "tspulse")
TARGETS = {
    "int8": ("onnx-cpu", "litert", "openvino-cpu", "jetson-orin"),
    "fp32": ("onnx-cpu", "litert", "openvino-cpu"),
}
CPUS = (arm64.CORTEX_A72, arm64.CORTEX_A76)


def edge_ad(*args: object) -> None:
    """Run the command line."""
    command = [sys.executable, "-m", "edge_ad", *map(str, args)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def data(detector: str, folder: Path) -> Path:
    """Its kind of generated inputs."""
    if folder.exists():
        return folder
    if detector == "starnet":
        return make_scenes(folder, 3, n_train=32, n_test_good=4, per_corruption=1, sensor="32-beam")
    if detector == "tspulse":
        return make_series(folder, 4, n_train=9000, n_test=1500)
    return make_parts(folder, 5, size=96, n_train=64, n_test_good=4, n_defective=4)


def bundles(detector: str, work: Path) -> dict[str, Path]:
    """One of INT8 and one of float32 payloads."""
    inputs, model = data(detector, work / f"{detector}-data"), work / detector
    if not (model / "model.json").exists():
        edge_ad("fit", detector, "--preset", "micro", "--steps", 60, "--data", inputs, "--out", model)
    made = {precision: work / f"{detector}-{precision}.edgead" for precision in TARGETS}
    for precision, path in made.items():
        if not path.exists():
            targets = [word for name in TARGETS[precision] for word in ("--target", name)]
            rest = ("--data", inputs, "--max-false-alarms", 0.15, "--out", path)
            edge_ad(
                "compile",
                model,
                *targets,
                *(() if precision == "int8" else ("--precision", precision)),
                *rest,
            )
    return made


def verified(device: arm64.Device, bundle: str, target: str) -> str:
    """Worst difference and what is allowed there, or what went wrong."""
    words = [str(device.commands / "edge-ad"), "verify", bundle, "--target", target, "--json"]
    done = subprocess.run(words, capture_output=True, text=True)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1].rpartition(": ")[2]
    told = f"{found['worst_error']:.2g} of {found['allowed']:.2g}"
    return told if found["passed"] else f"**refused**: {told}"


@click.command(help=__doc__.splitlines()[0])
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for models and bundles.")
@click.option("--detector", "chosen", multiple=True, help="Only these.")
def main(work: Path, chosen: tuple[str, ...]) -> None:
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edge-ad-arm64-") as kept:
        folder = Path(kept)
        try:
            arm64.require()
            root = arm64.make_root(folder / "root")
            devices = {cpu.name: arm64.device(root, folder / cpu.name, cpu) for cpu in CPUS}
            arm64.install(root, devices[CPUS[0].name], "onnxruntime,litert,openvino", folder)
        except pytest.skip.Exception as reason:
            raise click.ClickException(str(reason)) from None
        heads = ["detector", "payload", *devices]
        print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads), flush=True)
        for detector in chosen or DETECTORS:
            for precision, path in bundles(detector, work).items():
                (root / "opt" / path.name).write_bytes(path.read_bytes())
                targets = TARGETS[precision] + (("jetson-orin-fp16",) if precision == "int8" else ())
                for target in targets:
                    told = [verified(device, f"/opt/{path.name}", target) for device in devices.values()]
                    name = target if "fp16" in target else f"{target} ({precision})"
                    print(f"| {detector} | {name} | " + " | ".join(told) + " |", flush=True)


if __name__ == "__main__":
    main()
