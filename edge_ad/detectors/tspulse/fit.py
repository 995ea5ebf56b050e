"""Fitting TSPulse on series of normal operation."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_ad.bundle.manifest import WindowSpec
from edge_ad.data.series_splits import SeriesSplits, cut, find_series_splits, split_series, survey
from edge_ad.detectors.loop import CHECKPOINT, Progress
from edge_ad.detectors.model_folder import begin_fit, end_fit
from edge_ad.detectors.tspulse.config import TsPulseConfig
from edge_ad.detectors.tspulse.detector import TsPulse
from edge_ad.detectors.tspulse.network import Core
from edge_ad.detectors.tspulse.scaling import Scaling
from edge_ad.detectors.tspulse.training import Trainer
from edge_ad.detectors.tspulse.weights import load_published
from edge_ad.errors import DataError
from edge_ad.runtime.series.standardise import MAX_STANDARD

MAX_SERIES_BYTES = 2 << 30  # rows of the fit split are held in memory, as float32
MAX_CHANNELS = 64
_FLAT = 1e-7  # standard deviation below this share of the mean: float32 rounding of a constant

log = logging.getLogger(__name__)


def fit(
    config: TsPulseConfig,
    data: Path,
    out: Path,
    *,
    budget_s: float | None = None,
    restart: bool = False,
    progress: Progress | None = None,
) -> TsPulse:
    """Fit on the series below `data`/train/good (or on the one file `data`) and write the model folder `out`.

    Nothing below `data`/test is read. budget_s: wall-clock seconds of training after which to stop in good order.
    restart: forget an unfinished fit that lies in `out`; otherwise it is resumed. Same series, settings and thread
    count give the same weights, unless a budget ended the training. Raises DataError for unusable series, ModelError
    for unusable weights or a foreign unfinished fit.
    """
    facts = survey(data, config.rate_hz)
    if len(facts.channels) > MAX_CHANNELS:
        raise DataError(
            f"has {len(facts.channels)} channels, TSPulse takes at most {MAX_CHANNELS}", where=data,
            hint="leave some out, or fit an autoencoder",
        )  # fmt: skip
    window = WindowSpec(length=config.context, hop=config.hop, rate_hz=facts.rate_hz, channels=facts.channels)
    splits = split_series(data, facts, window, config.holdout)
    stretches = read_stretches(splits, data)
    unfinished = begin_fit(out, restart=restart)
    mean, std, constant = channel_statistics(stretches)
    if constant:
        names = [facts.channels[i] for i in constant]
        log.warning("%s: these channels never change in the data of the fit: %s", data, ", ".join(names))
    torch.manual_seed(config.seed)
    scaling, core, origin = initial_modules(config)
    trainer = Trainer(config, standardised(stretches, mean, std), scaling, core)
    checkpoint = unfinished / CHECKPOINT
    if checkpoint.is_file():
        trainer.loop.resume(checkpoint)
    state = trainer.run(budget_s, checkpoint, progress)
    held = find_series_splits(splits, data, window)
    detector = TsPulse(config, splits, mean, std, scaling, core, {
        "steps": state.step,
        "stopped_by": state.stopped_by,
        "losses": {name: round(value, 5) for name, value in state.losses.items()},
        "threads": torch.get_num_threads(),
        "inputs": {name: len(getattr(held, name)) for name in ("fit", "calibration", "threshold")},
        "constant_channels": [facts.channels[i] for i in constant],
        **origin,
    })  # fmt: skip
    detector.save(out)
    end_fit(out)
    return detector


def read_stretches(splits: SeriesSplits, data: Path) -> list[np.ndarray]:
    """The fit rows as stretches without a gap, (rows, C) float32 each, at least a window long.

    Raises DataError when they hold no whole window, or more than memory should hold.
    """
    hop, found = splits.window.hop, list[np.ndarray]()
    held = 0
    for path, rows in find_series_splits(splits, data, splits.window).fit.places:
        pieces: list[np.ndarray] = []
        end = -1
        for values, (begin, newest) in cut(path, rows, splits.window):
            if begin != end and pieces:
                found.append(np.concatenate(pieces))
                pieces = []
            pieces.append(values[-hop:] if pieces else values)
            end = newest
            held += pieces[-1].nbytes
            if held > MAX_SERIES_BYTES:
                raise DataError(
                    f"holds more rows than fit into {MAX_SERIES_BYTES >> 30} GiB", where=data,
                    hint="fit on fewer files, or at a lower rate",
                )  # fmt: skip
        if pieces:
            found.append(np.concatenate(pieces))
    if not found:
        raise DataError(
            f"holds no {splits.window.length} rows in a row without a gap", where=data,
            hint="close the gaps, or take a preset with a shorter window",
        )  # fmt: skip
    return found


def channel_statistics(stretches: list[np.ndarray]) -> tuple[list[float], list[float], list[int]]:
    """Mean and standard deviation of each channel, and which are constant (their deviation counts as 1)."""
    n = sum(len(s) for s in stretches)
    mean = sum(s.sum(0, dtype=np.float64) for s in stretches) / n
    std = np.sqrt(sum(((s - mean) ** 2).sum(0) for s in stretches) / n)
    flat = std <= _FLAT * np.maximum(np.abs(mean), 1e-30)
    return mean.tolist(), np.where(flat, 1.0, std).tolist(), np.flatnonzero(flat).tolist()


def standardised(stretches: list[np.ndarray], mean: list[float], std: list[float]) -> list[Tensor]:
    """As `edge_ad.runtime.series.standardise`, of whole stretches, (rows, C)."""
    scaled = ((s.astype(np.float64) - np.asarray(mean)) / np.asarray(std) for s in stretches)
    return [torch.from_numpy(np.clip(s, -MAX_STANDARD, MAX_STANDARD).astype(np.float32)) for s in scaled]


def initial_modules(config: TsPulseConfig) -> tuple[Scaling, Core, dict[str, Any]]:
    """Modules at random, or with the published weights that `config` names, and what to say of their origin."""
    scaling, core = Scaling(config), Core(config)
    if config.weights is None:
        return scaling, core, {}
    unused = load_published(Path(config.weights), config.weights_sha256, config, scaling, core)
    return scaling, core, {"weights": Path(config.weights).name, "unused_tensors": len(unused)}
