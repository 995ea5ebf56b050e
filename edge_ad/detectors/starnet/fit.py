"""Fitting STARNet on clean scans or vectors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge_ad.detectors.loop import CHECKPOINT, Loop, Progress, fingerprint
from edge_ad.detectors.model_folder import begin_fit, end_fit
from edge_ad.detectors.starnet.config import StarNetConfig
from edge_ad.detectors.starnet.data import Prepared, is_vector, prepare
from edge_ad.detectors.starnet.detector import StarNet
from edge_ad.detectors.starnet.network import Decoder, Encoder, Front, VectorFront, kl_divergence

_SMALLEST_STD = 1e-3  # of a channel whose values lie in 0..1
_SMALLEST_ROW_STD = 0.05  # of the mean along a row, in standard deviations of its channel


def fit(
    config: StarNetConfig,
    data: Path,
    out: Path,
    *,
    budget_s: float | None = None,
    restart: bool = False,
    progress: Progress | None = None,
) -> StarNet:
    """Fit on `data`/train/good and write the model folder `out`; nothing under `data`/test is read.

    The evidence bound of a Gaussian decoder is maximised with the variance that is best for each batch (Rybkin et al.,
    Simple and Effective VAE Training with Calibrated Decoders, ICML 2021, section 3), so no weight stands between its
    two terms. The variance that the score uses is that of the clean inputs kept for calibration. Arguments and errors
    as for `edge_ad.detectors.efficientad.fit.fit`.
    """
    prepared = prepare(config, data)
    unfinished = begin_fit(out, restart=restart)
    torch.manual_seed(config.seed)
    front = _front(prepared)
    shape = (prepared.fit.shape[1],) if is_vector(prepared.input.shape) else tuple(prepared.fit.shape[1:])
    encoder, decoder = (kind(shape, config.widths, config.latent) for kind in (Encoder, Decoder))
    with torch.no_grad():
        inputs = torch.cat([front(x[None])[0] for x in prepared.fit])
    loop = Loop(
        modules={"encoder": encoder, "decoder": decoder},
        optimizer=torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=config.learning_rate),
        identity=[config.model_dump_json(), fingerprint(prepared.fit)],
        steps=config.steps,
        learning_rate=config.learning_rate,
        decay_at=config.decay_at,
        random=torch.Generator().manual_seed(config.seed),
    )
    if (unfinished / CHECKPOINT).is_file():
        loop.resume(unfinished / CHECKPOINT)

    def losses() -> dict[str, Tensor]:
        chosen = torch.randint(len(inputs), (config.batch,), generator=loop.random)
        return _losses(_rolled(inputs[chosen], config, loop.random), encoder, decoder, loop.random)

    state = loop.run(losses, budget_s, unfinished / CHECKPOINT, progress)
    encoder.eval()
    decoder.eval()
    info: dict[str, Any] = {
        "steps": state.step,
        "stopped_by": state.stopped_by,
        "losses": {name: round(value, 3) for name, value in state.losses.items()},
        "threads": torch.get_num_threads(),
        "inputs": {"fit": len(prepared.fit), "calibration": len(prepared.calibration), "threshold": 0},
        "variance": reconstruction_variance(front, encoder, decoder, prepared.calibration),
        "variance_of_fit": reconstruction_variance(front, encoder, decoder, prepared.fit),
    }
    detector = StarNet(config, prepared.splits, prepared.input, front, encoder, decoder, info)
    info["inputs"]["threshold"] = detector.held_back(data)
    detector.tune(prepared.calibration)
    detector.save(out)
    end_fit(out)
    return detector


def _front(prepared: Prepared) -> Front:
    """Statistics of each channel, and of each channel's means along the last axis: a row of a range image."""
    fit = prepared.fit
    axes = (0,) if is_vector(prepared.input.shape) else (0, 2, 3)
    mean = fit.mean(axes, keepdim=True)
    std = fit.std(axes, keepdim=True).clamp_min(_SMALLEST_STD)
    rows = ((fit - mean) / std).mean(-1)
    spread = rows.std(0, keepdim=True).clamp_min(_SMALLEST_ROW_STD)
    kind = VectorFront if is_vector(prepared.input.shape) else Front
    return kind(mean, std, rows.mean(0, keepdim=True), spread)


def _losses(x: Tensor, encoder: Encoder, decoder: Decoder, random: torch.Generator) -> dict[str, Tensor]:
    mean, logvar = encoder(x)
    z = mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=random)
    squares = (decoder(z) - x).square().mean()
    elements = math.prod(x.shape[1:])
    return {
        "likelihood": 0.5 * elements * torch.log(squares + 1e-6),
        "kl": kl_divergence(mean, logvar).mean(),
    }


def _rolled(x: Tensor, config: StarNetConfig, random: torch.Generator) -> Tensor:
    """Range images turned a little about the vertical axis, as the vehicle turns."""
    if config.features != "range-image" or config.roll == 0:
        return x
    most = int(config.roll * x.shape[-1])
    turns = torch.randint(-most, most + 1, (len(x),), generator=random)
    return torch.stack([image.roll(int(turn), -1) for image, turn in zip(x, turns, strict=True)])


@torch.no_grad()
def reconstruction_variance(front: Front, encoder: Encoder, decoder: Decoder, inputs: Tensor) -> float:
    """Mean squared error of the reconstruction from the posterior's mean, per feature."""
    errors = []
    for x in inputs:
        features = front(x[None])[0]
        errors.append(float((decoder(encoder(features)[0]) - features).square().mean()))
    return max(sum(errors) / len(errors), 1e-6)
