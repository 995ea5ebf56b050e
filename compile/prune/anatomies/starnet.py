"""STARNet as pruning sees it: the posterior, and what the decoder makes of its mean; the latent space may shrink."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from edge_ad.compile.prune.anatomy import Anatomy, Kept, Parts
from edge_ad.detectors.base import Detector
from edge_ad.detectors.starnet.detector import StarNet
from edge_ad.detectors.starnet.fit import reconstruction_variance
from edge_ad.detectors.starnet.network import Decoder, Encoder, Front, Reconstruction, kl_divergence

STEPS = 3000  # of the recovery: a step takes milliseconds
WITHOUT = (
    "The score is the Mahalanobis distance of the features, which asks nothing of the networks: a board's image has "
    "neither, pruned or not."
)
LEAST_STEP = 4  # channels that boards compute at once in 16 bits: two cost them more than four


class Posterior(nn.Module):
    """Preprocessed features (N, …) to their reconstruction (N, …), and mean and log variance (N, latent)."""

    def __init__(self, front: Front, encoder: Encoder, decoder: Decoder):
        super().__init__()
        self._front = (front,)  # no submodule: it stays as it is
        self.made = Reconstruction(encoder, decoder)

    def features(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = self._front[0](x)[0]
        return found

    def forward(self, x: Tensor) -> Parts:
        found: Parts = self.made((self.features(x),))
        return found

    def traced(self, x: Tensor) -> Parts:
        """As `forward`, with the log variance in what is decoded: the three go together."""
        mean, logvar = self.made.encoder(self.features(x))
        return self.made.decoder(mean + 0 * logvar), mean, logvar


def anatomy(detector: Detector, normal: Tensor, changed: Tensor, calibration: Tensor) -> Anatomy:
    """The score of one input is its negative evidence bound, which regret and divergence are made of too."""
    assert isinstance(detector, StarNet)
    encoder, decoder = (deepcopy(m).eval().requires_grad_(True) for m in (detector.encoder, detector.decoder))
    network = Posterior(detector.front, encoder, decoder)
    variance = float(detector.fit_info["variance"])

    def score(parts: Parts, x: Tensor) -> Tensor:
        squares = (parts[0] - network.features(x)).square().flatten(1).sum(1)
        return squares / (2 * variance) + kl_divergence(parts[1], parts[2])

    def rebuilt(pruned: nn.Module, kept: Kept, calibration: Tensor, fit_info: dict[str, Any]) -> Detector:
        assert isinstance(pruned, Posterior)
        encoder, decoder = pruned.made.encoder, pruned.made.decoder
        told = {
            **fit_info,
            "variance": reconstruction_variance(detector.front, encoder, decoder, calibration),
        }
        found = replace(detector, encoder=encoder, decoder=decoder, fit_info=told, choice=None)
        found.tune(calibration)
        return found

    last = f"made.decoder.body.{len(decoder.body) - 1}"
    sources = (None, "made.encoder.mean", "made.encoder.logvar")
    # A bound is that of a pair of draws; each step of a search asks for two bounds.
    searched = detector.config.spsa_steps if detector.score == "regret" else 0
    return Anatomy(
        network, score, sources, rebuilt, frozenset([last]), batch=16, traced=lambda _, x: network.traced(x),
        steps=STEPS, passes={"made.decoder": 2 + 4 * searched}, least_step=LEAST_STEP,
        notes=[WITHOUT] if detector.score == "mahalanobis" else [],
    )  # fmt: skip
