"""Masked reconstruction in both spaces (arXiv 2505.13033, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_ad.detectors.loop import Loop, LoopState, Progress, fingerprint
from edge_ad.detectors.tspulse.config import TsPulseConfig
from edge_ad.detectors.tspulse.masking import draw_masks
from edge_ad.detectors.tspulse.network import Core, Signature
from edge_ad.detectors.tspulse.scaling import Scaling


@dataclass
class Trainer:
    """One training. segments: stretches of standardised rows without a gap, (rows, C) float32, at least S rows each."""

    config: TsPulseConfig
    segments: Sequence[Tensor]
    scaling: Scaling
    core: Core
    signature: Signature = field(init=False)
    loop: Loop = field(init=False)

    def __post_init__(self) -> None:
        config = self.config
        random = torch.Generator().manual_seed(config.seed)
        self.signature = Signature(config)
        modules: dict[str, nn.Module] = {
            "scaling": self.scaling,
            "core": self.core,
            "signature": self.signature,
        }
        for module in modules.values():
            module.train()
        parameters = [p for module in modules.values() for p in module.parameters()]
        self.loop = Loop(
            modules=modules,
            optimizer=torch.optim.AdamW(
                parameters, config.learning_rate, weight_decay=config.weight_decay, fused=True
            ),
            identity=[config.model_dump(mode="json"), [fingerprint(s) for s in self.segments]],
            steps=config.steps,
            learning_rate=config.learning_rate,
            decay_at=config.decay_at,
            random=random,
        )
        lengths = torch.tensor([len(s) - config.context + 1 for s in self.segments])
        self._ends, self._channels = lengths.cumsum(0), self.segments[0].shape[1]
        self._windows = [s.unfold(0, config.context, 1) for s in self.segments]  # views, (starts, C, S)

    def run(self, budget_s: float | None, checkpoint: Path, progress: Progress | None = None) -> LoopState:
        """Train; see `Loop.run`. The modules are left in evaluation mode."""
        state = self.loop.run(self._losses, budget_s, checkpoint, progress)
        for module in (self.scaling, self.core):
            module.eval()
        return state

    def _batch(self) -> Tensor:
        """Windows of one channel each, (batch, S): segment, start and channel at random, every window alike."""
        n, random = self.config.batch, self.loop.random
        index = torch.randint(int(self._ends[-1]), (n,), generator=random)
        channels = torch.randint(self._channels, (n,), generator=random)
        segments = torch.searchsorted(self._ends, index, right=True)
        begins = torch.cat([self._ends.new_zeros(1), self._ends])[segments]
        return torch.stack(
            [self._windows[s][i, c] for s, i, c in zip(segments, index - begins, channels, strict=True)]
        )

    def _losses(self) -> dict[str, Tensor]:
        """Errors of hidden samples from both heads, of all samples, of the spectrum, and of its signature.

        In scaled units, so that quiet windows count as much as loud ones, with Huber's loss, so that what no model
        could foresee does not.
        """
        x, hidden = self._batch(), draw_masks(self.config, self.config.batch, self.loop.random)
        observed, scaling = 1 - hidden, self.scaling
        scale = scaling.statistics(x, observed)
        given = scaling.scaled(x, observed, scale)
        spectrum = scaling.spectrum(given)
        tokens = self.core.tokens(given, spectrum.values)
        series, values = self.core.heads(tokens)
        target = (x - scale.mean) / scale.std * scaling.gain.detach() + scaling.offset.detach()
        whole = scaling.spectrum(target)
        inverse = scaling.series(values, spectrum)
        n = hidden.sum()
        return {
            "time": (functional.smooth_l1_loss(series, target, reduction="none") * hidden).sum() / n,
            "all": functional.smooth_l1_loss(series, target),
            "inverse": (functional.smooth_l1_loss(inverse, target, reduction="none") * hidden).sum() / n,
            "spectrum": functional.mse_loss(values, whole.values),
            "signature": 0.1 * functional.cross_entropy(self.signature(tokens), _signature(whole.values * torch.cat(
                [whole.real.expand(-1, x.shape[1] // 2), whole.imaginary.expand(-1, x.shape[1] // 2)], dim=1))),
        }  # fmt: skip


def _signature(bins: Tensor) -> Tensor:
    """Softmax of log(1 + magnitude), (B, S / 2), of real and imaginary parts (B, S)."""
    real, imaginary = bins.chunk(2, dim=1)
    return torch.softmax(torch.log1p(torch.hypot(real, imaginary)), dim=1)
