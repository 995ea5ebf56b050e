"""Fitting the autoencoder on normal series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge_ad.detectors.autoencoder.config import AutoencoderConfig
from edge_ad.detectors.autoencoder.detector import Autoencoder
from edge_ad.detectors.autoencoder.network import Body, untrained
from edge_ad.detectors.loop import CHECKPOINT, Loop, Progress, fingerprint
from edge_ad.detectors.model_folder import begin_fit, end_fit
from edge_ad.detectors.sound import prepare_sound
from edge_ad.detectors.vectors import prepare_vectors
from edge_ad.errors import DataError


def fit(
    config: AutoencoderConfig,
    data: Path,
    out: Path,
    *,
    budget_s: float | None = None,
    restart: bool = False,
    progress: Progress | None = None,
) -> Autoencoder:
    """Fit on `data`/train/good and write the model folder `out`; nothing under `data`/test is read.

    The mean squared error of standardised vectors is minimised. Arguments and errors as for
    `edge_ad.detectors.efficientad.fit.fit`.
    """
    if config.features == "log-mel":
        prepared = prepare_sound(data, config, config.holdout)
    else:
        prepared = prepare_vectors(data, config.window, config.holdout)
    vectors = prepared.fit.flatten(1)
    if vectors.shape[1] == 1:
        raise DataError(
            "holds one channel, and a vector of one row of it is a single value", where=data,
            hint="take more rows with --window, or, of sound or vibration, --features log-mel",
        )  # fmt: skip
    unfinished = begin_fit(out, restart=restart)
    body = untrained(vectors.shape[1], config.widths, config.latent, config.seed)
    loop = Loop(
        modules={"body": body},
        optimizer=torch.optim.Adam(body.parameters(), lr=config.learning_rate),
        identity=[config.model_dump_json(), fingerprint(prepared.fit)],
        steps=config.steps,
        learning_rate=config.learning_rate,
        decay_at=config.decay_at,
        random=torch.Generator().manual_seed(config.seed),
    )
    if (unfinished / CHECKPOINT).is_file():
        loop.resume(unfinished / CHECKPOINT)

    def losses() -> dict[str, Tensor]:
        batch = vectors[torch.randint(len(vectors), (config.batch,), generator=loop.random)]
        return {"error": (body(batch) - batch).square().mean()}

    state = loop.run(losses, budget_s, unfinished / CHECKPOINT, progress)
    body.eval()
    info: dict[str, Any] = {
        "steps": state.step,
        "stopped_by": state.stopped_by,
        "losses": {name: round(value, 4) for name, value in state.losses.items()},
        "threads": torch.get_num_threads(),
        "inputs": {"fit": len(prepared.fit), "calibration": len(prepared.calibration), "threshold": 0},
        "error": _error(body, vectors),
        "error_of_calibration": _error(body, prepared.calibration.flatten(1)),
    }
    detector = Autoencoder(config, prepared.splits, prepared.input, body, info)
    info["inputs"]["threshold"] = detector.held_back(data)
    detector.save(out)
    end_fit(out)
    return detector


@torch.no_grad()
def _error(body: Body, vectors: Tensor) -> float:
    """Mean squared error of normal vectors; of those kept for calibration it tells whether the fit carries over."""
    return round(float((body(vectors) - vectors).square().mean()), 4)
