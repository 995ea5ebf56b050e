"""EfficientAD and FADeR `micro` on microcontrollers: the tables of docs/results.md, through the command line.

    python tests/bench/image_boards.py --work work/boards

Fits, compiles for the three emulated boards and measures there: AUROC in float and in the board's integers, flash, the
arena with stripes and without, the stack that was used, instructions an inference. Prints Markdown.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from edge_ad.compile.integer.smaller import STRIPES

ROOT = Path(__file__).resolve().parents[2]
SETS = ("magnetic_tile", "deep_pcb")
DETECTORS = {"efficientad": ["--steps", "3000"], "fader": ["--steps", "400"]}
BOARDS = {"cortex-m4": "mps2-an386", "cortex-m7": "mps2-an500", "cortex-m55": "mps3-an547"}


def edge_ad(*args: object) -> str:
    """Run the command line; its standard output."""
    command = [sys.executable, "-m", "edge_ad", *map(str, args)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def compiled(detector: str, data: Path, work: Path) -> tuple[Path, dict[str, Any]]:
    """The bundle and the compile's report."""
    name = f"{data.name}-{detector}-micro"
    model, bundle, printed = work / name, work / f"{name}.edgead", work / f"{name}.json"
    if not (model / "model.json").exists():
        edge_ad("fit", detector, "--preset", "micro", "--data", data, "--out", model, *DETECTORS[detector])
    if not printed.exists():
        targets = [word for name in BOARDS for word in ("--target", name)]
        printed.write_text(
            edge_ad(
                "compile", model, *targets, "--data", data, "--max-false-alarms", 0.05, "--out", bundle, "--json"
            )
        )  # fmt: skip
    found: dict[str, Any] = json.loads(printed.read_text())
    return bundle, found


def accuracy_row(data: str, detector: str, report: dict[str, Any]) -> str:
    """All boards give the same scores to the bit: one row."""
    payload = report["payloads"][0]
    test, drift = payload["test"], payload["drift"]
    cells = [
        data, detector, f"{test['auroc_float']['value']:.3f}", f"{test['auroc_compiled']['value']:.3f}",
        f"{test['auroc_change']['value']:+.4f}", f"{drift['rank_correlation']:.4f}",
        f"{test['false_alarms']['recalibrated']['rate']:.1%}", f"{test['n_normal']} + {test['n_anomalous']}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def board_row(detector: str, bundle: Path, target: str, state: Path) -> str:
    """Flash the bundle, let the board prove itself and count."""
    where = ("--board", f"qemu:{BOARDS[target]}", "--state", state)
    edge_ad("flash", bundle, *where, "--json")
    verified = json.loads(edge_ad("verify", bundle, *where, "--json"))
    manifest = json.loads(edge_ad("inspect", bundle, "--json"))["manifest"]
    payload = next(p for p in manifest["payloads"] if p["target"] == target)
    told = next(line for line in payload["decisions"] if line.startswith(STRIPES))
    whole = int(re.search(r"instead of ([\d,]+)", told)[1].replace(",", ""))  # type: ignore[index]
    parts, counted = payload["budget"]["parts"], verified["engine"]["details"]
    static, stack = int(counted["static"]), int(counted["stack_used"])
    firmware = _firmware_bytes(BOARDS[target])
    cells = [
        detector, BOARDS[target], firmware, parts["image"], firmware + parts["image"], whole, parts["arena"],
        static, stack, parts["arena"] + static + stack, int(counted["instructions"]),
    ]  # fmt: skip
    return "| " + " | ".join(f"{c:,}" if isinstance(c, int) else c for c in cells) + " |"


def _firmware_bytes(board: str) -> int:
    """Code and constants of engine, link and port."""
    from edge_ad.firmware_bridge.boards import find
    from edge_ad.firmware_bridge.build import build_firmware

    listing = subprocess.run(
        ["arm-none-eabi-size", str(build_firmware(find(board)))], capture_output=True, text=True, check=True
    ).stdout
    text, data = listing.splitlines()[1].split()[:2]
    return int(text) + int(data)


@click.command(help=__doc__.splitlines()[0])
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for models and bundles.")
def main(work: Path) -> None:
    shared = Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data")) / "images"
    work.mkdir(parents=True, exist_ok=True)
    heads = [
        "set",
        "detector",
        "AUROC float",
        "on boards",
        "change",
        "rank correlation",
        "alarms, 5 % wanted",
        "images",
    ]
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    bundles = {}
    for name in SETS:
        for detector in DETECTORS:
            bundles[detector], report = compiled(detector, shared / name, work)
            print(accuracy_row(name, detector, report), flush=True)
    heads = ["detector", "board", "firmware", "image", "flash in all", "arena, whole activations", "arena, stripes",
             "static", "stack used", "memory in all", "instructions"]  # fmt: skip
    print("\n| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for detector, bundle in bundles.items():
        for target in BOARDS:
            print(board_row(detector, bundle, target, work / "state"), flush=True)


if __name__ == "__main__":
    main()
