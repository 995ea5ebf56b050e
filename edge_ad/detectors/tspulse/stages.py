"""The scoring network: hide the newest patch, reconstruct it in time and from the spectrum, and measure the errors.

Its three stages are exported apart: only the core is quantized (`edge_ad.detectors.base.Staged`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edge_ad.detectors.base import Staged
from edge_ad.detectors.tspulse.config import TsPulseConfig
from edge_ad.detectors.tspulse.masking import newest_mask
from edge_ad.detectors.tspulse.network import Core
from edge_ad.detectors.tspulse.scaling import Scale, Scaling, Spectrum

STREAMS = ("time", "spectrum", "level")


class Front(nn.Module):
    """Standardised windows (1, C, S) to the core's inputs, and what the tail needs besides its outputs."""

    def __init__(self, scaling: Scaling):
        super().__init__()
        self.scaling = scaling

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        scaling = self.scaling
        rows = x[0]
        seen = rows[:, : -scaling.patch]
        mean = seen.mean(1, keepdim=True)
        scale = Scale(mean, (seen - mean).square().mean(1, keepdim=True).clamp_min(scaling.floor).sqrt())
        hidden = scaling.token.expand(rows.shape[0], -1)
        scaled = torch.cat([(seen - scale.mean) / scale.std, hidden], dim=1) * scaling.gain + scaling.offset
        spectrum = scaling.spectrum(scaled)
        return scaled, spectrum.values, rows[:, -scaling.patch :], *scale, *spectrum[1:]


class Tail(nn.Module):
    """The core's outputs to mean squared errors of the newest patch, (1, len(STREAMS), C), in standardised units.

    time: of the series that the time head gives. spectrum: of the inverse transform of the spectrum head's output,
    of which only the newest patch's rows are computed. level: of the training mean, that is the patch's own size.
    """

    def __init__(self, scaling: Scaling):
        super().__init__()
        self.scaling = scaling

    def forward(
        self, patch: Tensor, values: Tensor, newest: Tensor, mean: Tensor, std: Tensor,
        real: Tensor, imaginary: Tensor, last: Tensor,
    ) -> Tensor:  # fmt: skip
        scaling, scale = self.scaling, Scale(mean, std)
        spectrum = Spectrum(values, real, imaginary, last)
        inverse = scaling.series(values, spectrum, scaling.context - scaling.patch)
        errors = [
            (scaling.unscaled(patch, scale) - newest).square().mean(1),
            (scaling.unscaled(inverse, scale) - newest).square().mean(1),
            newest.square().mean(1),
        ]
        return torch.stack(errors)[None]


class PlainNetwork(nn.Module):
    """The published network, all of it, with the newest patch hidden: windows (1, C, S) to `errors` as `Tail`'s."""

    def __init__(self, config: TsPulseConfig, scaling: Scaling, core: Core):
        super().__init__()
        self.scaling, self.core = scaling, core
        self.register_buffer("observed", 1 - newest_mask(config))

    def forward(self, x: Tensor) -> Tensor:
        rows = x[0]
        scaling, observed = self.scaling, self.observed.expand_as(rows)
        scale = scaling.statistics(rows, observed)
        scaled = scaling.scaled(rows, observed, scale)
        spectrum = scaling.spectrum(scaled)
        series, values = self.core.heads(self.core.tokens(scaled, spectrum.values))
        found = (
            scaling.unscaled(series, scale),
            scaling.unscaled(scaling.series(values, spectrum), scale),
            torch.zeros_like(rows),
        )
        hidden = slice(-scaling.patch, None)
        errors = [(made[:, hidden] - rows[:, hidden]).square().mean(1) for made in found]
        return torch.stack(errors)[None]


def scoring_network(scaling: Scaling, core: Core) -> Staged:
    """Standardised windows (1, C, S) to `errors` (1, len(STREAMS), C).

    Residual sums, gates and the norm take their inputs in float32: in 8 bits the residual stream alone cost 0.02 AUROC.
    """
    return Staged(Front(scaling), core, Tail(scaling), core_inputs=2, exact_types=("Add", "Multiply", "MVN"))
