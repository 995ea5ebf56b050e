"""What layers kept in 16 bits buy and cost on a board: the table of docs/results.md, through the command line.

    python tests/bench/kept_boards.py --work work/kept --case efficientad --drift 0.1 --drift 0.02
    python tests/bench/kept_boards.py --work work/kept --case autoencoder --drift 0.02 --drift 0.005

Each network is compiled with every layer in INT8, with the layers kept that hold each tolerance, and with all of them.
Every form goes onto an emulated board, whose golden vectors must agree to the bit and which counts the instructions of
an inference. Fits and compiles that are there already are kept. Prints Markdown.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
from autoencoder import toycar
from precision import compiled

from targets import ROOT, Case, edge_ad

BOARDS = {"cortex-m4": "qemu:mps2-an386", "cortex-m7": "qemu:mps2-an500", "cortex-m55": "qemu:mps3-an547"}
HEADS = ["network, set", "board", "drift allowed", "kept", "of all MACs", "drift", "rank agreement", "AUROC",
         "instructions", "times", "flash", "memory"]  # fmt: skip


def cases(shared: Path, work: Path) -> list[Case]:
    tile = shared / "images" / "magnetic_tile"
    car = toycar(shared / "audio" / "toycar_ad01_logmel", work / "toycar")
    return [
        Case("efficientad micro", tile.name, tile, "magnetic_tile-micro", 0.05, ["--preset", "micro"]),
        Case(
            "autoencoder ad01", "toycar", car.folder, "toycar-ad01", 0.02, ["--preset", "ad01", *car.options]
        ),
    ]


def instructions(bundle: Path, board: str, state: Path) -> int:
    """Of an inference, once the board has proved itself."""
    edge_ad("flash", bundle, "--board", board, "--state", state)
    told = json.loads(edge_ad("verify", bundle, "--board", board, "--state", state, "--json"))
    assert told["passed"] and told["allowed"] == 0
    return int(told["engine"]["details"]["instructions"])


def row(
    case: Case, asked: str, report: dict[str, Any], agreement: dict[str, Any] | None, kept: tuple[str, float],
    counts: tuple[int, int],
) -> list[str]:  # fmt: skip
    """One line. agreement: of this form; kept: the layers in words, and their share; counts: instructions, and those
    of the form with every layer in INT8."""
    payload = report["payloads"][0]
    drift = ["", ""] if agreement is None else [f"{agreement[k]:.4f}" for k in ("drift", "rank_agreement")]
    budget, test = payload["budget"], payload.get("test")
    return [
        f"{case.detector}, {case.name}", payload["target"], asked, kept[0], f"{kept[1]:.1%}", *drift,
        f"{test['auroc_compiled']['value']:.4f} (float {test['auroc_float']['value']:.4f})" if test else "",
        f"{counts[0]:,}", f"{counts[0] / counts[1]:.2f}", f"{budget['flash_bytes']:,}", f"{budget['ram_bytes']:,}",
    ]  # fmt: skip


def lines(case: Case, work: Path, target: str, drifts: tuple[str, ...]) -> list[list[str]]:
    """Every layer in INT8, those that hold each tolerance, and all in 16 bits."""
    made: list[tuple[str, dict[str, Any], dict[str, Any] | None, tuple[str, float], Path]] = []
    for drift in drifts:
        report = compiled(case, work, target, ["--keep", "auto", "--max-score-drift", drift], f"keep-{drift}")
        if report is None:
            made.append((drift, {}, None, ("no set holds it", 0.0), work))
            continue
        plan = report["payloads"][0]["precision_plan"]
        told = ", ".join(plan["kept"]) or "nothing", plan["kept_share"]
        bundle = work / f"{case.model}-{target}-keep-{drift}.edgead"
        made.append((drift, report, plan["after"], told, bundle))
        before = plan["before"]
        most = max(plan["steps"], key=lambda step: len(step["kept"]))["agreement"]
    whole = compiled(case, work, target, [], "int8")
    every = compiled(case, work, target, ["--keep", "*"], "all")
    assert whole is not None and every is not None
    path = work / f"{case.model}-{target}"
    first = ("none", whole, before, ("nothing", 0.0), Path(f"{path}-int8.edgead"))
    last = ("all", every, most, ("every layer", 1.0), Path(f"{path}-all.edgead"))
    found, least = [], 0
    for asked, report, agreement, told, bundle in (first, *made, last):
        if not report:
            found.append([f"{case.detector}, {case.name}", target, asked, told[0], *[""] * (len(HEADS) - 4)])
            continue
        count = instructions(bundle, BOARDS[target], work / f"state-{bundle.stem}")
        least = least or count
        found.append(row(case, asked, report, agreement, told, (count, least)))
    return found


@click.command(help=__doc__.splitlines()[0])
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for models and bundles.")
@click.option("--case", "chosen", multiple=True, help="Only these: a detector.")
@click.option(
    "--drift",
    "drifts",
    multiple=True,
    default=("0.1", "0.02"),
    help="Tolerances; the least is not held by INT8 alone.",
)
@click.option("--target", type=click.Choice(list(BOARDS)), default="cortex-m7", help="The board.")
def main(work: Path, chosen: tuple[str, ...], drifts: tuple[str, ...], target: str) -> None:
    shared = Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data"))
    work.mkdir(parents=True, exist_ok=True)
    print("| " + " | ".join(HEADS) + " |\n|" + " --- |" * len(HEADS), flush=True)
    for case in cases(shared, work):
        if chosen and case.detector.split()[0] not in chosen:
            continue
        if not (work / case.model / "model.json").exists():
            edge_ad(
                "fit", case.detector.split()[0], "--data", case.data, "--out", work / case.model, *case.fit
            )
        for line in lines(case, work, target, drifts):
            print("| " + " | ".join(line) + " |", flush=True)


if __name__ == "__main__":
    main()
