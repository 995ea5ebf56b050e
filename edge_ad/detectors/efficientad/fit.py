"""Fitting EfficientAD on a folder of good parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge_ad.data.splits import split_normals, train_good
from edge_ad.data.textures import N_CLASSES, texture
from edge_ad.detectors.base import Outputs
from edge_ad.detectors.efficientad.config import EfficientAdConfig
from edge_ad.detectors.efficientad.detector import EfficientAd
from edge_ad.detectors.efficientad.emphasis import defect_moment, emphasise
from edge_ad.detectors.efficientad.grid import round_features, round_last, settle
from edge_ad.detectors.efficientad.network import PDN
from edge_ad.detectors.efficientad.simplify import normalise
from edge_ad.detectors.efficientad.statistics import (
    Float64,
    OutputTransform,
    feature_statistics,
    fold_into,
    standardise,
    whiten,
)
from edge_ad.detectors.efficientad.teacher import load_teacher
from edge_ad.detectors.efficientad.training import Trainer
from edge_ad.detectors.images import read_images
from edge_ad.detectors.loop import CHECKPOINT, Progress, hardware_bfloat16
from edge_ad.detectors.model_folder import begin_fit, end_fit
from edge_ad.errors import DataError
from edge_ad.runtime.images import list_images, read_image
from edge_ad.runtime.preprocess import resize_area

N_TEXTURES = 240


def fit(
    config: EfficientAdConfig,
    data: Path,
    out: Path,
    *,
    budget_s: float | None = None,
    restart: bool = False,
    progress: Progress | None = None,
) -> EfficientAd:
    """Fit on `data`/train/good and write the model folder `out`; nothing under `data`/test is read.

    budget_s: wall-clock seconds of training after which to stop in good order. restart: forget an unfinished
    fit that lies in `out`; otherwise it is resumed. Same images, settings and thread count give the same
    weights, unless a budget ended the training. Raises DataError for unusable images, ModelError for an
    unusable teacher or a foreign unfinished fit.
    """
    splits = split_normals(data, config.seed, config.holdout)
    images = read_images(train_good(data), splits.fit, config.size)
    teacher, info = load_teacher(config.teacher, config.widths, config.channels, sha256=config.teacher_sha256)
    unfinished = begin_fit(out, restart=restart)
    if config.quantization_aware:
        round_features(teacher)
    statistics = feature_statistics(_outputs(teacher, images))
    transform = _output_transform(config, teacher, images, statistics)
    folded = _folded(teacher, transform)
    if config.quantization_aware:
        round_last(teacher, transform, folded)
    trainer = Trainer(
        config=config,
        teacher=folded,
        target_ae=fold_into(teacher.conv4, standardise(*statistics)).requires_grad_(False),
        images=images,
        penalty=_penalty(config),
        bfloat16=config.precision == "bf16" or (config.precision == "auto" and hardware_bfloat16()),
    )
    checkpoint = unfinished / CHECKPOINT
    if checkpoint.is_file():
        trainer.loop.resume(checkpoint)
    state = trainer.run(budget_s, checkpoint, progress)
    if config.quantization_aware:
        settle(trainer.student)
    detector = EfficientAd(
        config, splits, teacher.eval(), transform, trainer.student.eval(),
        None if trainer.autoencoder is None else trainer.autoencoder.eval(), asdict(info),
    )  # fmt: skip
    detector.fit_info = {
        "steps": state.step,
        "stopped_by": state.stopped_by,
        "losses": {name: round(value, 5) for name, value in state.losses.items()},
        "precision": "bf16" if trainer.bfloat16 else "fp32",
        "threads": torch.get_num_threads(),
        "inputs": {name: len(getattr(splits, name)) for name in ("fit", "calibration", "threshold")},
    }
    calibration = read_images(train_good(data), splits.calibration, config.size)
    if trainer.autoencoder is not None:
        detector.fit_info["autoencoder_trust"] = _autoencoder_trust(trainer, calibration)
    detector.fit_info["map_quantiles"] = _map_quantiles(detector, calibration)
    detector.save(out)
    end_fit(out)
    return detector


def _output_transform(
    config: EfficientAdConfig, teacher: PDN, images: Tensor, statistics: tuple[Float64, Float64]
) -> OutputTransform:
    if config.transform == "standardise":
        return standardise(*statistics)
    if config.transform == "whiten":
        return whiten(*statistics)
    moment = defect_moment(teacher, images, statistics[0], config.seed)
    return emphasise(*statistics, moment, power=config.emphasis_power)


@torch.no_grad()
def _outputs(teacher: PDN, images: Tensor) -> Iterator[Tensor]:
    for image in images:
        yield teacher(normalise(image[None]))


def _folded(teacher: PDN, transform: OutputTransform) -> PDN:
    widths = (teacher.conv1.out_channels, teacher.conv2.out_channels, teacher.conv3.out_channels)
    folded = PDN(widths, teacher.conv4.out_channels)
    folded.load_state_dict(teacher.state_dict())
    folded.conv4 = fold_into(teacher.conv4, transform)
    return folded.eval().requires_grad_(False)


def _penalty(config: EfficientAdConfig) -> Tensor | None:
    """Images of other things: twice the size, then the centre, so that detail is coarser than the product's."""
    if config.penalty == "none":
        return None
    if config.penalty == "textures":
        images = [texture(i % N_CLASSES, config.seed + i, config.size) for i in range(N_TEXTURES)]
    else:
        folder = Path(config.penalty)
        paths = list_images(folder) if folder.is_dir() else []
        if not paths:
            raise DataError("holds no image for the penalty", where=folder, hint="or use --penalty textures")
        chosen = np.random.default_rng(config.seed).permutation(len(paths))[:1000]
        images = [_centre(read_image(paths[i]), config.size) for i in sorted(chosen)]
    return torch.from_numpy(np.stack([i.transpose(2, 0, 1) for i in images]))


def _centre(image: np.ndarray, size: int) -> np.ndarray:
    quarter = size // 2
    return resize_area(image, (2 * size, 2 * size))[quarter : quarter + size, quarter : quarter + size]


@torch.no_grad()
def _autoencoder_trust(trainer: Trainer, images: Tensor) -> float:
    """How far the autoencoder's branch has been learned, 0 to 1, on normal images that it was not fitted on.

    The share of the teacher's variance that the autoencoder explains, times the share of the autoencoder's
    output that the student explains. An untrained branch gives a map of noise; see `EfficientAd.fit_head`.
    """
    assert trainer.autoencoder is not None
    autoencoder, student = trainer.autoencoder.eval(), trainer.student
    sums = np.zeros(4)
    for image in images:
        x = normalise(image[None])
        target = trainer.target_ae(trainer.teacher.features(x))
        reconstruction = autoencoder(x)
        difference = reconstruction - student(x)[:, trainer.config.channels :]
        for index, tensor in enumerate((target - reconstruction, target, difference, reconstruction)):
            sums[index] += float(tensor.square().mean())
    explained = max(0.0, 1 - sums[0] / sums[1]) * max(0.0, 1 - sums[2] / sums[3])
    return round(float(explained), 4)


@torch.no_grad()
def _map_quantiles(detector: EfficientAd, images: Tensor) -> list[list[float]]:
    network = detector.network()
    outputs: list[Outputs] = [{"maps": network(image[None]).numpy()} for image in images]
    quantiles: list[list[float]] = detector.fit_head(outputs, {}).params["quantiles"]
    return quantiles
