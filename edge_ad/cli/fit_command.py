"""`edge-ad fit`."""

from __future__ import annotations

from typing import Any

import click

from edge_ad.cli.fit_options import fit_options, run_fit

_IMAGES = "Folder with train/good, images of good parts."


@click.group("fit")
def command() -> None:
    """Fit a detector on normal data: images, LiDAR scans or series.

    The data folder holds train/good (MVTec layout). A share of it is set aside for the threshold and for calibration;
    nothing under test/ is read. An interrupted fit goes on where it was when the same command is given again.
    """


@command.command("efficientad")
@click.option("--preset", type=click.Choice(["small", "tiny", "micro"]), default="small", show_default=True,
              help="small: the paper's, 256 px. tiny: 128 px. micro: 64 px, no autoencoder.")  # fmt: skip
@fit_options(_IMAGES)
@click.option("--teacher", help="Weights file of a PDN teacher (default: the built-in random-dct).")
@click.option("--teacher-sha256", help="Refuse a teacher file with another digest.")
@click.option("--transform", type=click.Choice(["emphasise", "whiten", "standardise"]),
              help="What is made of the teacher's outputs (paper: standardise).")  # fmt: skip
@click.option("--penalty", help="Images of other things to not react to: none, textures, or a folder.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), help="Arithmetic of the fit.")
@click.option("--quantization-aware/--no-quantization-aware", default=None,
              help="Fit on the weight grid of INT8 (default: yes).")  # fmt: skip
def efficientad(**options: Any) -> None:
    """EfficientAD for images: a student learns a teacher's features (Batzner, Heckler, Koenig, arXiv 2303.14535)."""
    from edge_ad.detectors.efficientad.config import PRESETS
    from edge_ad.detectors.efficientad.fit import fit

    run_fit(fit, PRESETS, **options)
