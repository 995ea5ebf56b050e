"""How an image and its reconstruction become the anomaly map.

RIAD's map is 1 - GMS over several scales. A contrast that is reconstructed a little too strongly or weakly leaves it
near zero, and places that are hard to reconstruct on every part stand out in it; so the mean squared difference and a
standardisation by position stand beside it (measured: docs/fader.md).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from edge_ad.detectors.fader.config import FaderConfig
from edge_ad.detectors.fader.similarity import msgms_map, smooth

_KINDS = {"msgms": ("msgms",), "l2": ("l2",), "both": ("msgms", "l2")}


class Comparison(nn.Module):
    """x and y (N, 3, S, S) of 0..1 to the map (N, 1, S, S).

    Each kind of map is smoothed; standardised, where the configuration says so, by its mean and deviation at each pixel
    over good parts; and averaged.
    """

    def __init__(self, config: FaderConfig):
        super().__init__()
        self.kinds = _KINDS[config.compare]
        self.smoothing_px, self.standardise = config.smoothing_px, config.standardise
        shape = (
            (1, len(self.kinds), config.size, config.size)
            if config.standardise
            else (1, len(self.kinds), 1, 1)
        )
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("gain", torch.ones(shape))

    def forward(self, x: Tensor, y: Tensor, published: bool = False) -> Tensor:
        maps = self.maps(x, y, published)
        if self.standardise:
            maps = (maps - self.mean) * self.gain
        return maps.mean(1, keepdim=True)

    def maps(self, x: Tensor, y: Tensor, published: bool = False) -> Tensor:
        """The kinds of maps, smoothed, (N, K, S, S). published: GMS by the published formula."""
        found = {
            "msgms": lambda: msgms_map(x, y, published=published),
            "l2": lambda: (x - y).square().mean(1, keepdim=True),
        }
        return smooth(torch.cat([found[kind]() for kind in self.kinds], 1), self.smoothing_px)

    @torch.no_grad()
    def fit(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Mean and deviation at each pixel from pairs (x, y) of good parts.

        The map's mean deviation is added to each pixel's, so that what hardly ever varies does not outweigh the rest.
        """
        if not self.standardise:
            return
        count, total, squares = (
            0,
            torch.zeros_like(self.mean, dtype=torch.float64),
            torch.zeros(1, dtype=torch.float64),
        )
        for x, y in pairs:
            maps = self.maps(x, y).double()
            count += len(maps)
            total += maps.sum(0, keepdim=True)
            squares = squares + maps.square().sum(0, keepdim=True)
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        floor = deviation.mean((2, 3), keepdim=True).clamp_min(1e-12)
        self.mean.copy_(mean)
        self.gain.copy_(1 / (deviation + floor))
