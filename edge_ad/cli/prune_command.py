"""`edge-ad prune`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_ad.cli.options import Rate, out, print_json, stages
from edge_ad.errors import UsageError

if TYPE_CHECKING:
    from edge_ad.compile.prune import Pruned
    from edge_ad.compile.prune.cost import Costs


@click.command("prune")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True,
              help="The folder that the model was fitted on; its train/good is read, nothing else.")  # fmt: skip
@click.option("--macs", "share", type=Rate(), required=True,
              help="Share of the multiply-accumulates to take away, e.g. 0.5 or 50%.")  # fmt: skip
@click.option("--out", "out_", type=click.Path(path_type=Path), required=True, help="Model folder to write.")
@click.option("--target", "target_name", default="openvino-cpu", show_default=True,
              help="Device whose cost is measured before and after, and whose kernels set the widths.")  # fmt: skip
@click.option("--multiple", type=click.IntRange(1, 256),
              help="What layers' widths are multiples of, if wide enough (default: the target's lanes).")  # fmt: skip
@click.option(
    "--steps", type=click.IntRange(1), help="Optimiser steps of the recovery (default: the detector's)."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of everything random.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads (default: all).")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(
    model: Path, data: Path, share: float, out_: Path, target_name: str, multiple: int | None, steps: int | None,
    seed: int, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Remove channels from a fitted detector, and teach what is left to give what the whole one gave.

    What goes is chosen by what the score loses without it, on normal inputs and altered copies of them; no anomaly and
    no label is read. The result is a model folder like any other: compile it, or prune it again.
    """
    from edge_ad import targets

    target = targets.get(target_name)
    _check_out(out_, model)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    from edge_ad.compile.prune import normals_of, prune
    from edge_ad.compile.prune.cost import lanes, measure
    from edge_ad.detectors import load_detector
    from edge_ad.detectors.model_folder import model_digest

    detector = load_detector(model)
    normals = normals_of(detector, data)
    with stages() as stage, contextlib.redirect_stdout(sys.stderr):
        made = prune(
            detector, share, normals, seed=seed, steps=steps, multiple=multiple or lanes(target),
            digest=model_digest(model), stage=stage,
        )  # fmt: skip
        made.detector.save(out_)  # before measuring, which may fail after minutes of work
        done = stage(f"measure on {target.name}", 1)
        costs = measure(detector, made.detector, target, normals.calibration)
        done()
    if as_json:
        print_json(_figures(made, costs, target.name, out_))
        return
    _tell(made, costs, target.name, out_, data)


def _check_out(folder: Path, model: Path) -> None:
    """Raises UsageError before any work is done for what cannot be written."""
    from edge_ad.detectors.model_folder import MODEL_FILE

    if folder.resolve() == model.resolve():
        raise UsageError("--out is the model itself", where=folder, hint="choose another folder")
    if (folder / MODEL_FILE).exists():
        raise UsageError(
            "holds a model already", where=folder, hint="choose another --out, or remove it first"
        )


def _figures(made: Pruned, costs: Costs, target: str, folder: Path) -> dict[str, Any]:
    return {
        "model": str(folder),
        "macs": [made.macs_before, made.macs_after],
        "parameters": [made.parameters_before, made.parameters_after],
        "loss": made.loss,
        "decisions": made.decisions,
        "target": {
            "name": target, "precision": costs.precision, "latency_us": costs.latency_us, "ratio": costs.ratio,
            "macs": costs.macs, "flash_bytes": costs.flash_bytes, "ram_bytes": costs.ram_bytes,
        },
    }  # fmt: skip


def _tell(made: Pruned, costs: Costs, target: str, folder: Path, data: Path) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("", "before", "after", "left"):
        table.add_column(heading, justify="left" if not heading else "right")

    def row(name: str, before: float, after: float, unit: float = 1.0, digits: str = ",.0f") -> None:
        table.add_row(
            name, format(before / unit, digits), format(after / unit, digits), f"{after / before:.0%}"
        )

    row("multiply-accumulates, millions", made.macs_before, made.macs_after, 1e6, ",.4g")
    row("parameters", made.parameters_before, made.parameters_after)
    form = f"{target} {costs.precision}"
    row(f"{form}, flash KB", *costs.flash_bytes, 1024, ",.1f")
    row(f"{form}, memory KB", *costs.ram_bytes, 1024, ",.1f")
    if costs.latency_us is not None:
        row(f"{form}, latency ms", *costs.latency_us, 1000, ",.4g")
    out.print(table)
    if costs.ratio is not None:
        faster = f"{costs.ratio:.2f} times as fast"
        verdict = faster if costs.ratio > 1 else f"{faster}: the smaller network is worth nothing here"
        out.print(f"side by side on this machine: {verdict}", soft_wrap=True)
    else:
        out.print(f"{target} is another machine: its time is not measured here", soft_wrap=True)
    for decision in made.decisions:
        out.print(f"  - {decision}", soft_wrap=True, markup=False)
    out.print(f"model {folder}", soft_wrap=True)
    out.print(
        f"next: edge-ad compile {folder} --target {target} --data {data} --max-false-alarms 0.05 --out pruned.edgead",
        soft_wrap=True,
    )
