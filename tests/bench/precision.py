"""What `compile --keep auto` buys and what it costs: the tables of docs/results.md, through the command line.

    python tests/bench/precision.py --work work/precision --case tspulse --drift 0.1 --drift 0.02
    python tests/bench/precision.py --work work/precision --case starnet

Each network is compiled with every layer in INT8, and with layers kept until the drift of the scores is within each
tolerance. Models are fitted as `tests/bench/targets.py` fits them; fits and compiles that are there already are kept.
Labelled inputs are reported and take no part in the choice. Latency on this machine, side by side; a Jetson's payload
runs on ONNX Runtime's CPU provider, so its speed is left out. Prints Markdown.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import click

from targets import ROOT, Case, cases, edge_ad

HEADS = [
    "network, set", "target", "tolerance", "kept", "of all MACs", "drift INT8", "kept", "rank agreement INT8", "kept",
    "AUROC float", "INT8", "kept", "VUS-PR float", "INT8", "kept", "times as long as INT8", "as float", "forms",
]  # fmt: skip


def compiled(case: Case, work: Path, target: str, keep: list[str], name: str) -> dict[str, Any] | None:
    """The compile report, None where no set of layers holds the tolerance."""
    printed = work / f"{case.model}-{target}-{name}.json"
    if not printed.exists():
        try:
            text = edge_ad(
                "compile", work / case.model, "--target", target, "--precision", "int8", "--data", case.data,
                "--max-false-alarms", case.rate, "--out", printed.with_suffix(".edgead"), "--json", *keep,
            )  # fmt: skip
        except subprocess.CalledProcessError as error:
            if error.returncode != 3:
                raise
            text = "null"
        printed.write_text(text)
    found: dict[str, Any] | None = json.loads(printed.read_text())
    return found


def small_cases(shared: Path) -> list[Case]:
    """EfficientAD `small`, which takes longer to fit than all others."""
    data = shared / "images" / "magnetic_tile"
    fit = ["--preset", "small", "--steps", "600"]
    return [Case("efficientad small", data.name, data, "magnetic_tile-small", 0.05, fit)]


def row(case: Case, target: str, drift: str, plain: dict[str, Any], kept: dict[str, Any] | None) -> list[str]:
    """One line of the table."""
    head = [f"{case.detector}, {case.name}", target, drift]
    if kept is None:
        return [*head, "no set holds it", *[""] * (len(HEADS) - 4)]
    payload, whole = kept["payloads"][0], plain["payloads"][0]
    plan, test, before = payload["precision_plan"], payload["test"], whole["test"]
    names = plan["kept"]
    told = ", ".join(names) if len(names) <= 4 else f"{len(names)} layers"
    series = ["", "", ""]
    if test.get("series_compiled"):
        found = (test["series_float"], before["series_compiled"], test["series_compiled"])
        series = [f"{one['vus_pr']:.3f}" for one in found]
    timing = kept["measurement"][0]
    slower = f"{timing['price']:.2f}" if timing["price"] else "1"
    times = ["", ""] if target.startswith("jetson") else [slower, f"{1 / timing['ratio']:.2f}"]
    return [
        *head, told or "nothing", f"{plan['kept_share']:.1%}",
        f"{plan['before']['drift']:.3f}", f"{plan['after']['drift']:.3f}",
        f"{plan['before']['rank_agreement']:.3f}", f"{plan['after']['rank_agreement']:.3f}",
        *(f"{one['value']:.3f}" for one in (test["auroc_float"], before["auroc_compiled"], test["auroc_compiled"])),
        *series, *times, str(len(plan["steps"]) + len(plan["layers"])),
    ]  # fmt: skip


@click.command(help=__doc__.splitlines()[0])
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for models and bundles.")
@click.option("--case", "chosen", multiple=True, help="Only these: a detector, or a model's folder.")
@click.option(
    "--target", "targets", multiple=True, default=("openvino-cpu", "onnx-cpu", "jetson-orin", "litert")
)
@click.option("--drift", "drifts", multiple=True, default=("0.1",), help="Tolerances, --max-score-drift.")
def main(work: Path, chosen: tuple[str, ...], targets: tuple[str, ...], drifts: tuple[str, ...]) -> None:
    shared = Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data"))
    work.mkdir(parents=True, exist_ok=True)
    print("| " + " | ".join(HEADS) + " |\n|" + " --- |" * len(HEADS), flush=True)
    for case in [*cases(shared, work), *small_cases(shared)]:
        if chosen and not {case.detector.split()[0], case.model} & {*chosen}:
            continue
        if not (work / case.model / "model.json").exists():
            edge_ad(
                "fit", case.detector.split()[0], "--data", case.data, "--out", work / case.model, *case.fit
            )
        for target in targets:
            plain = compiled(case, work, target, [], "int8")
            assert plain is not None
            for drift in drifts:
                keep = ["--keep", "auto", "--max-score-drift", drift]
                made = compiled(case, work, target, keep, f"keep-{drift}")
                print("| " + " | ".join(row(case, target, drift, plain, made)) + " |", flush=True)


if __name__ == "__main__":
    main()
