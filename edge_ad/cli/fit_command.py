"""`edge-ad fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_ad.cli.options import Duration, errors, out, print_json


@click.group("fit")
def command() -> None:
    """Fit a detector on images of good parts.

    The data folder holds train/good (MVTec layout). A share of its images is set aside for the threshold and
    for calibration; nothing under test/ is read.
    """


@command.command("efficientad")
@click.option("--preset", type=click.Choice(["small", "tiny", "micro"]), default="small", show_default=True,
              help="small: the paper's, 256 px. tiny: 128 px. micro: 64 px, no autoencoder.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder with train/good.")
@click.option("--out", "out_", type=click.Path(path_type=Path), required=True, help="Model folder to write.")
@click.option("--budget", type=Duration(), help="Stop in good order after this long, e.g. 10m.")
@click.option("--steps", type=click.IntRange(1), help="Optimiser steps (default: the preset's).")
@click.option("--teacher", help="Weights file of a PDN teacher (default: the built-in random-dct).")
@click.option("--teacher-sha256", help="Refuse a teacher file with another digest.")
@click.option("--transform", type=click.Choice(["emphasise", "whiten", "standardise"]),
              help="What is made of the teacher's outputs (paper: standardise).")  # fmt: skip
@click.option("--penalty", help="Images of other things to not react to: none, textures, or a folder.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Adam's learning rate.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), help="Arithmetic of the fit.")
@click.option("--quantization-aware/--no-quantization-aware", default=None,
              help="Fit on the weight grid of INT8 (default: yes).")  # fmt: skip
@click.option("--holdout", type=click.FloatRange(0, 0.8, min_open=True, max_open=True),
              help="Share of the images that is kept for the threshold (default 0.25).")  # fmt: skip
@click.option("--seed", type=int, help="Seed of everything random (default 42).")
@click.option("--threads", type=click.IntRange(1), help="CPU threads (default: all).")
@click.option("--restart", is_flag=True, help="Forget an unfinished or older fit in the model folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the fit's report as JSON.")
def efficientad(
    preset: str, data: Path, out_: Path, budget: float | None, threads: int | None, restart: bool,
    as_json: bool, **settings: Any,
) -> None:  # fmt: skip
    """EfficientAD (Batzner, Heckler, Koenig, arXiv 2303.14535).

    An interrupted fit goes on where it was when the same command is given again.
    """
    import torch
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from edge_ad.detectors.efficientad.config import PRESETS
    from edge_ad.detectors.efficientad.fit import fit

    if threads is not None:
        torch.set_num_threads(threads)
    config = PRESETS[preset].model_copy(update={k: v for k, v in settings.items() if v is not None})
    columns = (TextColumn("fit"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[status]}"))  # fmt: skip
    with Progress(*columns, console=errors) as bar:
        task = bar.add_task("fit", total=1.0, status="reading images")
        try:
            detector = fit(
                config, data, out_, budget_s=budget, restart=restart,
                progress=lambda share, status: bar.update(task, completed=share, status=status),
            )  # fmt: skip
        except KeyboardInterrupt:
            bar.stop()
            errors.print(f"interrupted; the same command goes on from here ({out_})")
            raise
    if as_json:
        print_json({"model": str(out_), **detector.info().model_dump(mode="json")})
        return
    report = detector.fit_info
    images = report["images"]
    out.print(
        f"fitted efficientad {preset} on {images['fit']} images in {report['steps']} steps "
        f"(ended by {report['stopped_by']}, {report['precision']})"
    )
    out.print(f"teacher: {detector.teacher_info['name']}, sha256 {detector.teacher_info['sha256']}")
    out.print(
        f"set aside: {images['calibration']} images for calibration, {images['threshold']} for the threshold"
    )
    out.print(
        f"next: edge-ad compile {out_} --target openvino-cpu --data {data} --out part.edgead", soft_wrap=True
    )
