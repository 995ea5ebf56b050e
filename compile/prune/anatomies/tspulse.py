"""TSPulse as pruning sees it: the newest patch and the spectrum that the core gives; the mixers' hidden widths go.

Tokens and features are joined by the residual stream all the way, so that their numbers stay.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from edge_ad.compile.prune.anatomy import Anatomy, Kept, Parts
from edge_ad.compile.prune.groups import LAYERS
from edge_ad.detectors.base import Detector
from edge_ad.detectors.tspulse.detector import TsPulse
from edge_ad.detectors.tspulse.network import Core
from edge_ad.detectors.tspulse.scaling import Scaling
from edge_ad.detectors.tspulse.stages import Front, Tail, scoring_network


class Reconstructed(nn.Module):
    """Windows (N, C, S) to the core's outputs for each channel of each: (N, C, p) and (N, C, S), scaled."""

    def __init__(self, scaling: Scaling, core: Core):
        super().__init__()
        self.core = core
        self._ends = Front(scaling), Tail(scaling)  # no submodules: they stay as they are

    def found(self, x: Tensor) -> tuple[Tensor, ...]:
        """What stands before the core, a row for each channel of each window, and what goes past it."""
        with torch.no_grad():
            made: tuple[Tensor, ...] = self._ends[0](x.reshape(1, -1, x.shape[-1]))
        return made

    def forward(self, x: Tensor) -> Parts:
        patch, spectrum = self.core(*self.found(x)[:2])
        return patch.reshape(*x.shape[:2], -1), spectrum.reshape(*x.shape[:2], -1)

    def errors(self, parts: Parts, x: Tensor) -> Tensor:
        """The errors that the head takes, (N, streams, C)."""
        errors = self._ends[1](parts[0].flatten(0, 1), parts[1].flatten(0, 1), *self.found(x)[2:])
        return errors.reshape(-1, x.shape[0], x.shape[1]).transpose(0, 1)


def anatomy(detector: Detector, normal: Tensor, changed: Tensor, calibration: Tensor) -> Anatomy:
    """The score of one window is the head's, over all of its channels."""
    assert isinstance(detector, TsPulse)
    network = Reconstructed(detector.scaling, deepcopy(detector.core).eval().requires_grad_(True))
    staged = scoring_network(detector.scaling, detector.core).eval()
    with torch.no_grad():
        outputs = [{"errors": staged(window[None]).numpy()} for window in calibration]
    scale = torch.tensor(detector.fit_head(outputs, {}).params["scale"])

    def score(parts: Parts, x: Tensor) -> Tensor:
        return torch.log1p(network.errors(parts, x) / scale).mean((1, 2))

    def rebuilt(pruned: nn.Module, kept: Kept, calibration: Tensor, fit_info: dict[str, Any]) -> Detector:
        assert isinstance(pruned, Reconstructed)
        return replace(detector, core=pruned.core, fit_info=fit_info)

    fixed = [n for n, m in network.named_modules() if isinstance(m, LAYERS) and not n.endswith(".up")]
    channels = normal.shape[1]
    return Anatomy(
        network,
        score,
        (None, None),
        rebuilt,
        frozenset(fixed),
        batch=max(1, 64 // channels),
        rate=2e-3,
        steps=1500,
    )
