"""FADeR as pruning sees it: the reconstruction. A level's skip connection, what the decoder joins it to and what weighs
it go together."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from edge_ad.compile.prune.anatomy import Anatomy, Kept, Parts
from edge_ad.detectors.base import Detector
from edge_ad.detectors.fader.detector import Fader
from edge_ad.detectors.fader.fit import fit_comparison, identity_check
from edge_ad.detectors.fader.forms import PlainNetwork
from edge_ad.detectors.fader.masks import hide
from edge_ad.detectors.fader.network import Attenuation, Inpainter
from edge_ad.detectors.loop import hardware_bfloat16

TOP_SHARE = 0.005  # of the pixels of a map: their mean stands for its maximum
_PIXELS_A_BATCH = 1 << 17


class Inpainting(nn.Module):
    """Pixels (N, 3, S, S) to their reconstruction in 0..1 (N, 3, S, S), of what the unpruned network would hide."""

    def __init__(self, inpainter: Inpainter, unpruned: PlainNetwork):
        super().__init__()
        self.inpainter = inpainter
        self._unpruned = (unpruned,)  # no submodule: it stays as it is

    def shown(self, pixels: Tensor) -> Tensor:
        """What the U-Net is shown."""
        with torch.no_grad():
            x, unpruned = pixels.float() / 255, self._unpruned[0]
            return hide(x, unpruned.hidden(x), unpruned.config.mosaic_px)

    def forward(self, pixels: Tensor) -> Parts:
        return (self.inpainter(self.shown(pixels)),)

    def traced(self, pixels: Tensor) -> Parts:
        """Without the gates, whose single factor for all channels of a cell ties nothing to anything."""
        unet = self.inpainter.unet
        return (unet.decode(*unet.encode(self.shown(pixels))),)


def anatomy(detector: Detector, normal: Tensor, changed: Tensor, calibration: Tensor) -> Anatomy:
    """The score of one image is its map's largest values."""
    assert isinstance(detector, Fader)
    plain = detector.network()
    inpainter = deepcopy(detector.inpainter).eval().requires_grad_(True)
    network = Inpainting(inpainter, plain)

    def score(parts: Parts, x: Tensor) -> Tensor:
        cells = plain.comparison(x.float() / 255, parts[0].clamp(0, 1)).flatten(1)
        return cells.topk(max(1, round(TOP_SHARE * cells.shape[1])), dim=1).values.mean(1)

    def rebuilt(pruned: nn.Module, kept: Kept, calibration: Tensor, fit_info: dict[str, Any]) -> Detector:
        assert isinstance(pruned, Inpainting)
        found = replace(
            detector,
            inpainter=pruned.inpainter,
            comparison=deepcopy(detector.comparison),
            fit_info=dict(fit_info),
        )
        fit_comparison(found.network(), normal)
        if len(found.inpainter.gates):
            found.fit_info["identity"] = identity_check(found.network(), calibration)
        return found

    gates = {
        f"inpainter.unet.encoder.{level}.1.conv": _narrowed(gate)
        for level, gate in inpainter.gates.items() if isinstance(gate, Attenuation)
    }  # fmt: skip
    own = [f"inpainter.gates.{level}.{name}" for level in inpainter.gates for name in ("reduce", "weigh")]
    return Anatomy(
        network, score, (None,), rebuilt, frozenset(["inpainter.unet.out", *own]),
        batch=max(2, min(16, _PIXELS_A_BATCH // detector.config.size**2)), steps=600, bfloat16=hardware_bfloat16(),
        traced=lambda _, x: network.traced(x), followers=gates,
    )  # fmt: skip


def _narrowed(gate: Attenuation) -> Callable[[Tensor], None]:
    """What has a gate follow the channels (C,), true for those that stay, of the features that it weighs."""

    @torch.no_grad()
    def narrow(stay: Tensor) -> None:
        gate.reduce.weight = nn.Parameter(gate.reduce.weight[:, stay].clone())
        gate.reduce.in_channels = int(stay.sum())
        gate.prototype = gate.get_buffer("prototype")[stay].clone()

    return narrow
