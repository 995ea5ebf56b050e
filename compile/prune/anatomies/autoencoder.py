"""The autoencoder as pruning sees it: its reconstruction; hidden and latent widths go, the last layer's stays."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from edge_ad.compile.prune.anatomy import Anatomy, Kept, Parts
from edge_ad.detectors.autoencoder.detector import Autoencoder
from edge_ad.detectors.autoencoder.network import Body
from edge_ad.detectors.base import Detector


class Reconstruction(nn.Module):
    """Windows (N, C, rows) to their reconstructions (N, C * rows)."""

    def __init__(self, body: Body):
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Parts:
        return (self.body(x.flatten(1)),)


def anatomy(detector: Detector, normal: Tensor, changed: Tensor, calibration: Tensor) -> Anatomy:
    """The score of one window is the logarithm of its mean squared error, so that all errors count alike."""
    assert isinstance(detector, Autoencoder)
    body = deepcopy(detector.body).eval().requires_grad_(True)

    def score(parts: Parts, x: Tensor) -> Tensor:
        return (parts[0] - x.flatten(1)).square().mean(1).clamp_min(1e-12).log()

    def rebuilt(pruned: nn.Module, kept: Kept, calibration: Tensor, fit_info: dict[str, Any]) -> Detector:
        assert isinstance(pruned, Reconstruction)
        vectors = calibration.flatten(1)
        with torch.no_grad():
            error = float((pruned.body(vectors) - vectors).square().mean())
        return replace(
            detector, body=pruned.body, fit_info={**fit_info, "error_of_calibration": round(error, 4)}
        )

    last = f"body.layers.{len(body.layers) - 1}"
    return Anatomy(Reconstruction(body), score, (None,), rebuilt, frozenset([last]), batch=64, steps=2000)
