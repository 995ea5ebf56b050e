"""`edge-ad fit`."""

from __future__ import annotations

from typing import Any

import click

from edge_ad.cli.fit_options import fit_options, require_features, run_fit, sound_options

_IMAGES = "Folder with train/good, images of good parts."


@click.group("fit")
def command() -> None:
    """Fit a detector on normal data: images, LiDAR scans or series.

    The data folder holds train/good (MVTec layout). A share of it is set aside for the threshold and for calibration;
    nothing under test/ is read. An interrupted fit goes on where it was when the same command is given again.
    """


@command.command("efficientad", short_help="Images: what a teacher sees and a student does not expect.")
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


@command.command("fader", short_help="Images: what had to be repaired.")
@click.option("--preset", type=click.Choice(["small", "micro"]), default="micro", show_default=True,
              help="micro: 64 px. small: 256 px, which takes hours to fit.")  # fmt: skip
@fit_options(_IMAGES)
@click.option("--mask", type=click.Choice(["mosaic", "template", "two-pass", "saliency"]),
              help="What is hidden from the network (default: the preset's).")  # fmt: skip
@click.option("--attenuation", type=click.Choice(["none", "soft", "prototype"]),
              help="What takes the place of features of defects on the skip connection.")  # fmt: skip
@click.option("--compare", type=click.Choice(["msgms", "l2", "both"]),
              help="How image and restoration are compared (published: msgms).")  # fmt: skip
@click.option("--standardise/--no-standardise", default=None,
              help="Judge each position by how well it is restored on good parts (default: yes).")  # fmt: skip
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), help="Arithmetic of the fit.")
def fader(**options: Any) -> None:
    """FADeR for images: repairs what it sees, and marks what it repaired (Park et al., arXiv 2407.04597)."""
    from edge_ad.detectors.fader.config import PRESETS
    from edge_ad.detectors.fader.fit import fit

    run_fit(fit, PRESETS, **options)


@command.command("starnet", short_help="LiDAR scans or vectors: how far from clean ones.")
@click.option("--preset", type=click.Choice(["small", "micro"]), default="small", show_default=True,
              help="small: 32 x 64 cells, 32 latent values. micro: 16 x 32, 16, small enough for boards.")  # fmt: skip
@fit_options(
    "Folder with train/good: clean scans of one sensor (.bin, .pcd, .npy), or vectors as rows of series."
)
@click.option("--features", type=click.Choice(["range-image", "bev", "vector"]),
              help="A range image (default) or a bird's-eye histogram of scans, or vectors as they come.")  # fmt: skip
@click.option("--score", type=click.Choice(["regret", "neg_elbo", "kl", "mahalanobis"]),
              help="The figure to alarm on (default: chosen on clean data).")  # fmt: skip
def starnet(**options: Any) -> None:
    """STARNet for LiDAR: is this stream to be trusted? (Darabi et al., arXiv 2309.11006)."""
    from edge_ad.detectors.starnet.config import PRESETS
    from edge_ad.detectors.starnet.fit import fit

    run_fit(fit, PRESETS, **options)


@command.command("tspulse", short_help="Series: how badly the newest stretch is foretold.")
@click.option("--preset", type=click.Choice(["tiny", "micro", "full"]), default="tiny", show_default=True,
              help="tiny: windows of 512 rows. micro: 256 rows. full: the published shape.")  # fmt: skip
@fit_options("Folder with train/good, series of normal operation (CSV, Parquet, NPY), or one such file.")
@click.option("--rate-hz", type=click.FloatRange(0, min_open=True),
              help="Rows a second (default: from the time stamps).")  # fmt: skip
@click.option("--weights", help="Published weights to begin from (preset full): a safetensors file.")
@click.option("--weights-sha256", help="Refuse a weights file with another digest.")
def tspulse(**options: Any) -> None:
    """TSPulse for series of 1 to 64 channels: foretells each new stretch (Ekambaram et al., arXiv 2505.13033)."""
    from edge_ad.detectors.tspulse.config import PRESETS
    from edge_ad.detectors.tspulse.fit import fit

    run_fit(fit, PRESETS, **options)


@command.command("autoencoder", short_help="Vectors or short windows: how badly they are restored.")
@click.option("--preset", type=click.Choice(["ad01", "micro"]), default="ad01", show_default=True,
              help="ad01: MLPerf Tiny's shape, 128 units four times each way. micro: 48 and 24.")  # fmt: skip
@fit_options(
    "Folder with train/good: vectors as rows of series (NPY, CSV, Parquet), samples (WAV too), or one such file."
)
@click.option("--window", type=click.IntRange(1, 4096),
              help="Rows that make one vector, the newest ones (default 1).")  # fmt: skip
@click.option("--features", type=click.Choice(["vector", "log-mel"]),
              help="Vectors as they come (default), or log-mel features of raw samples.")  # fmt: skip
@sound_options
def autoencoder(features: str | None, **options: Any) -> None:
    """A fully connected autoencoder for vectors of any width: MLPerf Tiny's anomaly detector (arXiv 2106.07597)."""
    from edge_ad.detectors.autoencoder.config import PRESETS
    from edge_ad.detectors.autoencoder.fit import fit

    require_features(features, options)
    run_fit(fit, PRESETS, features=features, **options)
