"""EfficientAD `micro` swept over pruning and precision, on generated parts and a real set: tables of docs/results.md.

    python tests/bench/sweep.py --work work/sweep

Fits, sweeps for an OpenVINO CPU and a Cortex-M55, and prints Markdown. What is there already is not made again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from edge_ad.compile.sweep.form import Measured
from edge_ad.compile.sweep.report import SWEEP_JSON, Sweep, section
from edge_ad.data.samples import make_parts

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("openvino-cpu", "cortex-m55")
SHARES = "0,0.25,0.5,0.75"
STEPS = 3000


def edge_ad(*args: object) -> None:
    """Run the command line."""
    command = [sys.executable, "-m", "edge_ad", *map(str, args)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def swept(data: Path, work: Path, steps: int) -> Sweep:
    """The sweep of a model that is fitted on `data`."""
    model, out = work / f"{data.name}-micro", work / f"{data.name}-sweep"
    if not (model / "model.json").exists():
        edge_ad("fit", "efficientad", "--preset", "micro", "--data", data, "--out", model, "--steps", steps)
    targets = [word for name in TARGETS for word in ("--target", name)]
    edge_ad("sweep", model, "--data", data, *targets, "--prune", SHARES, "--jobs", 1, "--out", out)
    return Sweep.model_validate_json((out / SWEEP_JSON).read_text())


def table(sweep: Sweep, target: str) -> Iterator[str]:
    """Markdown of one target, the cheapest form first."""
    found = section(sweep, target)
    timed = found.rows[0].found.latency_us is not None
    cost = "latency" if timed else "instructions"
    heads = ["precision", "pruned", cost, "times as fast" if timed else "times fewer", "flash", "RAM",
             "AUROC drop, altered", "rank correlation", "AUROC, labelled", "front"]  # fmt: skip
    yield "| " + " | ".join(heads) + " |"
    yield "| --- " + "| ---: " * (len(heads) - 2) + "| --- |"
    for row in found.rows:
        yield "| " + " | ".join(_cells(row.found, timed)) + f" | {'yes' if row.on_front else ''} |"


def _cells(m: Measured, timed: bool) -> list[str]:
    change = m.altered.change
    interval = (
        "" if change is None else f" ({0.0 - change.interval[1]:+.3f} to {0.0 - change.interval[0]:+.3f})"
    )
    cost = f"{(m.latency_us or 0) / 1000:.2f} ms" if timed else f"{m.instructions or 0:,}"
    return [
        m.form.precision, f"{m.form.prune:.0%}", cost, "–" if m.speedup is None else f"{m.speedup:.2f}",
        f"{m.flash_bytes / 1024:.1f} KB", f"{m.ram_bytes / 1024:.1f} KB", f"{m.altered.drop:+.3f}{interval}",
        "–" if m.drift is None else f"{m.drift.rank_correlation:.3f}",
        "–" if m.labelled is None else f"{m.labelled.form.value:.3f}",
    ]  # fmt: skip


@click.command(help=__doc__.splitlines()[0])
@click.option(
    "--work", type=click.Path(path_type=Path), required=True, help="Folder for data, models, sweeps."
)
@click.option("--steps", default=STEPS, show_default=True, help="Of the fits.")
def main(work: Path, steps: int) -> None:
    work.mkdir(parents=True, exist_ok=True)
    parts = work / "parts"
    if not parts.exists():
        make_parts(parts, 1, size=256, n_train=160, n_test_good=30, n_defective=30)
    sets = [parts]
    shared = Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data")) / "images"
    if (shared / "magnetic_tile").is_dir():
        sets.append(shared / "magnetic_tile")
    for data in sets:
        sweep = swept(data, work, steps)
        for target in sweep.targets:
            reference = sweep.of_target(target)[0]
            labelled = reference.labelled
            told = "" if labelled is None else f", {labelled.reference.value:.3f} on labelled inputs"
            print(
                f"\n{data.name}, {target} ({sweep.isa}): the reference's AUROC is "
                f"{reference.altered.reference.value:.3f} on {reference.altered.reference.n_normal} normal and "
                f"{reference.altered.reference.n_anomalous} altered inputs{told}.\n"
            )
            print("\n".join(table(sweep, target)), flush=True)


if __name__ == "__main__":
    main()
