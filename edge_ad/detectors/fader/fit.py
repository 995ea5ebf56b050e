"""Fitting FADeR on a folder of good parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge_ad.data.splits import split_normals, train_good
from edge_ad.detectors.fader.comparison import Comparison
from edge_ad.detectors.fader.config import FaderConfig
from edge_ad.detectors.fader.detector import Fader
from edge_ad.detectors.fader.forms import PlainNetwork
from edge_ad.detectors.fader.masks import hide, make_mask
from edge_ad.detectors.fader.network import Attenuation, Inpainter, UNet, make_gates
from edge_ad.detectors.fader.training import AttenuationTraining, InpaintingTraining, trained_module
from edge_ad.detectors.images import read_images
from edge_ad.detectors.loop import CHECKPOINT, LoopState, Progress, hardware_bfloat16
from edge_ad.detectors.model_folder import begin_fit, end_fit

MAX_COMPARED, CHUNK = 1_000, 8
ATTENUATION_CHECKPOINT = "attenuation.pt"
MIN_MEAN_FACTOR, MAX_ERROR_CHANGE = 0.95, 0.01  # what "leaves good parts alone" means


def fit(
    config: FaderConfig,
    data: Path,
    out: Path,
    *,
    budget_s: float | None = None,
    restart: bool = False,
    progress: Progress | None = None,
) -> Fader:
    """Fit on `data`/train/good and write the model folder `out`; nothing under `data`/test is read.

    First the U-Net, then its attenuation. budget_s: wall-clock seconds of both trainings together, after which to
    stop in good order. restart: forget an unfinished fit that lies in `out`; otherwise it is resumed. Same images,
    settings and thread count give the same weights, unless a budget ended the training. Raises DataError for unusable
    images, ModelError for a foreign unfinished fit or a fitted model in `out`.
    """
    splits = split_normals(data, config.seed, config.holdout)
    images = read_images(train_good(data), splits.fit, config.size)
    unfinished = begin_fit(out, restart=restart)
    bfloat16 = config.precision == "bf16" or (config.precision == "auto" and hardware_bfloat16())
    mask = make_mask(config).requires_grad_(False).eval()
    mask.fit(images)
    shares = (1.0, config.attenuation_share if config.attenuation != "none" else 0.0)
    first = InpaintingTraining(config, images, mask, bfloat16)
    checkpoint, second_checkpoint = unfinished / CHECKPOINT, unfinished / ATTENUATION_CHECKPOINT
    if checkpoint.is_file():
        first.loop.resume(checkpoint)
    if not second_checkpoint.is_file():
        first.loop.run(first.losses, _share(budget_s, 0, shares), checkpoint, _part(progress, 0, shares))
        first.loop.save(checkpoint)  # the U-Net is whole, whatever happens to what follows
    unet = trained_module(first.unet)
    assert isinstance(unet, UNet)
    torch.manual_seed(config.seed)  # whatever the first training drew
    gates = make_gates(config.widths, config.attenuated_levels, config.cell_px, config.attenuation)
    network = PlainNetwork(config, Inpainter(unet, gates), mask, Comparison(config)).eval()
    states = [first.loop.state]
    if gates:
        second = AttenuationTraining(network, images, bfloat16)
        if second_checkpoint.is_file():
            second.loop.resume(second_checkpoint)
        budget = _share(budget_s, 1, shares)
        states.append(second.loop.run(second.losses, budget, second_checkpoint, _part(progress, 1, shares)))
    network.requires_grad_(False).eval()
    fit_comparison(network, images)
    detector = Fader(config, splits, network.inpainter, mask, network.comparison, _told(states, bfloat16))
    detector.fit_info["inputs"] = {k: len(getattr(splits, k)) for k in ("fit", "calibration", "threshold")}
    calibration = read_images(train_good(data), splits.calibration, config.size)
    if gates:
        detector.fit_info["identity"] = identity_check(network, calibration)
    detector.save(out)
    end_fit(out)
    return detector


@torch.no_grad()
def fit_comparison(network: PlainNetwork, images: Tensor) -> None:
    """Learn how the network's map varies on good parts, `images` (N, 3, S, S) uint8; the first MAX_COMPARED of them."""

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        for chunk in images[:MAX_COMPARED].split(CHUNK):
            x = chunk.float() / 255
            yield x, network.reconstruct(x).clamp(0, 1)

    network.comparison.fit(pairs())


@torch.no_grad()
def identity_check(network: PlainNetwork, images: Tensor) -> dict[str, Any]:
    """How far the attenuation leaves good parts alone, on `images` (N, 3, S, S) uint8 that were not fitted on.

    mean_factor: of all cells and levels. error_change: of the mean squared error of the reconstruction, relative, to
    that without attenuation. holds: at least 0.95, and less than 1 %.
    """
    unet, config = network.inpainter.unet, network.config
    factors, gated_error, open_error = [], 0.0, 0.0
    for image in images:
        x = image[None].float() / 255
        shown = hide(x, network.hidden(x), config.mosaic_px)
        skips, _ = unet.encode(shown)
        for level, gate in network.inpainter.gates.items():
            assert isinstance(gate, Attenuation)
            factors.append(float(torch.sigmoid(gate.logits(skips[int(level)])).mean()))
        gated_error += float((network.inpainter(shown) - x).square().mean())
        open_error += float((unet(shown) - x).square().mean())
    mean_factor = sum(factors) / len(factors)
    change = gated_error / max(open_error, 1e-12) - 1
    return {
        "mean_factor": round(mean_factor, 4),
        "error_change": round(change, 5),
        "holds": mean_factor >= MIN_MEAN_FACTOR and abs(change) < MAX_ERROR_CHANGE,
    }


def _share(budget_s: float | None, part: int, shares: tuple[float, float]) -> float | None:
    """The seconds of one training."""
    return None if budget_s is None else budget_s * shares[part] / sum(shares)


def _part(progress: Progress | None, part: int, shares: tuple[float, float]) -> Progress | None:
    """The progress of one training as progress of both."""
    if progress is None:
        return None
    report, before, length = progress, sum(shares[:part]) / sum(shares), shares[part] / sum(shares)
    return lambda share, status: report(before + length * share, status)


def _told(states: list[LoopState], bfloat16: bool) -> dict[str, Any]:
    """What the trainings did, for the model folder."""
    losses = [{name: round(value, 5) for name, value in state.losses.items()} for state in states]
    told: dict[str, Any] = {
        "steps": states[0].step,
        "stopped_by": states[0].stopped_by,
        "losses": losses[0],
        "precision": "bf16" if bfloat16 else "fp32",
        "threads": torch.get_num_threads(),
    }
    if len(states) > 1:
        told["attenuation"] = {
            "steps": states[1].step,
            "stopped_by": states[1].stopped_by,
            "losses": losses[1],
        }
    return told
