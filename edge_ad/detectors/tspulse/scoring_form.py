"""The scoring form of TSPulse's core: the newest patch and the spectrum as before, by layers that can be narrower.

Three exact rewritings of what the published form computes:

- A mixer's gate reads down(u) = W u + b of the hidden layer u, linearly. So it reads u itself, with the matrix G W and
  the bias G b + c in place of G and c: (N, h) weights for a hidden layer of h in place of (N, N).
- The heads of the score read the newest time patch's token and those of the spectrum. With gates that read u, the last
  block need not compute the others, nor the last mixer over tokens the rows that lead to them.
- Batch norm is an affine map of each feature, and a mixer over features begins with a matrix over them: one matrix does
  both. Over tokens it cannot, where the matrix is the same for all features.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from edge_ad.detectors.tspulse.config import TsPulseConfig
from edge_ad.detectors.tspulse.network import Core, Mixer, TokenBatchNorm


def scoring_form(config: TsPulseConfig, core: Core) -> tuple[TsPulseConfig, Core]:
    """A core that gives the same newest patch and spectrum, in the scoring form; a copy, whatever form it had."""
    core = deepcopy(core)
    if config.form == "scoring":
        return config, core
    config = config.model_copy(update={"form": "scoring"})
    mixers = [mixer for mixer in core.mixers if isinstance(mixer, Mixer)]
    for mixer in mixers:
        mixer.gate.linear = _after(mixer.gate.linear, mixer.down)
        mixer.from_hidden = True
        if isinstance(mixer.norm, TokenBatchNorm) and not mixer.over_tokens:
            mixer.up, mixer.norm = _behind(mixer.up, mixer.norm), nn.Identity()
    if config.trimmed:
        last = mixers[-2]
        last.kept, core.trimmed = config.read_tokens, True
        last.down, last.gate.linear = (_rows(layer, last.kept) for layer in (last.down, last.gate.linear))
    return config, core


@torch.no_grad()
def _after(second: nn.Linear, first: nn.Linear) -> nn.Linear:
    """second(first(u)) as one layer; summed in float64, since rounding errors of both would add up."""
    weight = second.weight.double() @ first.weight.double()
    bias = second.weight.double() @ first.bias.double() + second.bias.double()
    return _linear(weight.float(), bias.float())


@torch.no_grad()
def _behind(layer: nn.Linear, norm: TokenBatchNorm) -> nn.Linear:
    """layer(norm(x)) as one layer."""
    gain, offset = (value.double() for value in norm.gain_and_offset())
    weight = layer.weight.double()
    return _linear((weight * gain).float(), (layer.bias.double() + weight @ offset).float())


@torch.no_grad()
def _rows(layer: nn.Linear, rows: slice) -> nn.Linear:
    return _linear(layer.weight[rows].clone(), layer.bias[rows].clone())


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0])
    made.weight, made.bias = nn.Parameter(weight), nn.Parameter(bias)
    return made
