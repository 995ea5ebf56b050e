"""The tables of image sets in docs/results.md: fit and compile on the real image sets, through the command line.

    python tests/bench/results.py --preset small --steps 600 --work work/results
    python tests/bench/results.py --detector fader --preset micro --steps 400 --work work/results

Fits that are there already are kept, so that an interrupted run goes on. Prints Markdown.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

SETS = ("magnetic_tile", "kolektor_sdd", "elpv_poly", "deep_pcb")
ROOT = Path(__file__).resolve().parents[2]


def edge_ad(*args: str) -> str:
    """Run the command line; its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_ad", *args], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def report(
    data: Path, work: Path, detector: str, preset: str, fit_options: list[str], rate: float
) -> dict[str, Any]:
    """Fit unless there is a model, compile, and return the compile report."""
    name = f"{data.name}-{preset}" if detector == "efficientad" else f"{data.name}-{detector}-{preset}"
    model = work / name
    if not (model / "model.json").exists():
        edge_ad("fit", detector, "--preset", preset, "--data", str(data), "--out", str(model), *fit_options)
    printed = edge_ad(
        "compile", str(model), "--target", "openvino-cpu", "--data", str(data), "--max-false-alarms", str(rate),
        "--out", str(work / f"{name}.edgead"), "--json",
    )  # fmt: skip
    loaded: dict[str, Any] = json.loads(printed)
    return loaded


def row(name: str, found: dict[str, Any]) -> list[str]:
    """One line of the table."""
    payload, timing = found["payloads"][0], found["measurement"][0]
    test = payload["test"]
    alarms = test["false_alarms"]
    low, high = alarms["predicted"]
    pro = [test[f"aupro_{form}"] for form in ("float", "compiled")]
    return [
        name,
        f"{test['auroc_float']['value']:.3f}",
        f"{test['auroc_compiled']['value']:.3f}",
        f"{test['auroc_change']['value']:+.4f}",
        *("none" if p is None else f"{p['value']:.3f}" for p in pro),
        f"{alarms['float']['rate']:.1%}",
        f"{alarms['kept']['rate']:.1%}",
        f"{alarms['recalibrated']['rate']:.1%}",
        f"{low:.1%} to {high:.1%}" + ("" if alarms["within"] else " (outside)"),
        f"{timing['ratio']:.1f}",
    ]


@click.command(help=__doc__.splitlines()[0])
@click.option("--detector", default="efficientad", show_default=True)
@click.option("--preset", default="small", show_default=True)
@click.option("--steps", type=int, default=600, show_default=True)
@click.option("--rate", default=0.05, show_default=True, help="Wanted false-alarm rate.")
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for models and bundles.")
@click.option("--set", "chosen", multiple=True, default=SETS, show_default=True)
@click.argument("fit_options", nargs=-1)
def main(
    detector: str, preset: str, steps: int, rate: float, work: Path, chosen: tuple[str, ...],
    fit_options: tuple[str, ...],
) -> None:  # fmt: skip
    images = Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data")) / "images"
    work.mkdir(parents=True, exist_ok=True)
    head = ["set", "AUROC float", "AUROC INT8", "change", "AU-PRO float", "AU-PRO INT8",
            "alarms float", "alarms INT8, float threshold", "alarms INT8, own threshold",
            "95 % interval expected", "times faster"]  # fmt: skip
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head), flush=True)
    areas = []
    for name in chosen:
        found = report(images / name, work, detector, preset, ["--steps", str(steps), *fit_options], rate)
        areas.append(
            [found["payloads"][0]["test"][f"auroc_{form}"]["value"] for form in ("float", "compiled")]
        )
        print("| " + " | ".join(row(name, found)) + " |", flush=True)
    means = [sum(column) / len(column) for column in zip(*areas, strict=True)]
    print(f"\nMean image AUROC: float {means[0]:.3f}, INT8 {means[1]:.3f}; wanted false alarms {rate:.0%}.")


if __name__ == "__main__":
    main()
