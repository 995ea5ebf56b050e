"""Fitting on the weight grid of INT8, so that quantizing the weights later changes next to nothing.

Overflow-safe INT8 (weights of 7 bits, see `edge_ad.compile.openvino_ir.quantize`) rounds each output channel to
multiples of max|w| / 63.5. A teacher is as good a teacher after that rounding; a student that has been fitted to
the rounded one, with its own weights rounded as well (straight-through estimator: Bengio, Leonard, Courville,
arXiv 1308.3432), has nothing left to lose to it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edge_ad.detectors.efficientad.network import PDN
from edge_ad.detectors.efficientad.simplify import STD
from edge_ad.detectors.efficientad.statistics import OutputTransform

LEVELS = 63
HALF_RANGE = 63.5  # the quantizer's step is max|w| / 63.5, so the largest weight of a channel lies half-way


def step_of(weight: Tensor) -> Tensor:
    """The quantizer's step of each output channel, (O, 1, 1, 1), for weights (O, I, k, k)."""
    return weight.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12) / HALF_RANGE


def on_grid(weight: Tensor, step: Tensor | None = None) -> Tensor:
    """`weight` (O, I, k, k) rounded to multiples of `step`, at most 63 of them.

    With step None it is the channel's own, and the largest weight of each channel is kept as it is, since the
    quantizer takes its step from there.
    """
    own = step is None
    step = step_of(weight) if step is None else step
    rounded = (weight / step).round().clamp(-LEVELS, LEVELS) * step
    if own:
        largest = weight.abs() >= weight.abs().amax((1, 2, 3), keepdim=True)
        rounded = torch.where(largest, weight, rounded)
    return rounded


class _OnGrid(nn.Module):
    """Parametrisation: rounded forwards, as if not rounded backwards. scale: of the simplified network's input."""

    def __init__(self, scale: Tensor | None = None, step: Tensor | None = None):
        super().__init__()
        self.scale, self.step = scale, step

    def forward(self, weight: Tensor) -> Tensor:
        with torch.no_grad():
            scaled = weight if self.scale is None else weight * self.scale
            if self.step is None:
                rounded = on_grid(scaled)
            else:  # the first rows share a convolution with the teacher, whose step they take
                rows = len(self.step)
                rounded = torch.cat([on_grid(scaled[:rows], self.step), scaled[rows:]])
            rounded = rounded if self.scale is None else rounded / self.scale
        return weight + (rounded - weight).detach()


def input_scale() -> Tensor:
    """What folding the input normalisation multiplies the first convolution's weights with, (1, 3, 1, 1)."""
    return 1 / (255 * torch.tensor(STD).view(1, 3, 1, 1))


@torch.no_grad()
def round_features(pdn: PDN) -> None:
    """Round the first three convolutions of `pdn` in place; the last follows once its transform is folded in."""
    scale = input_scale()
    pdn.conv1.weight.copy_(on_grid(pdn.conv1.weight * scale) / scale)
    for conv in (pdn.conv2, pdn.conv3):
        conv.weight.copy_(on_grid(conv.weight))


@torch.no_grad()
def round_last(teacher: PDN, transform: OutputTransform, folded: PDN) -> None:
    """Round the last convolution of `folded`, in which `transform` is folded, and change `teacher`'s to match."""
    folded.conv4.weight.copy_(on_grid(folded.conv4.weight))
    inverse = torch.from_numpy(np.linalg.pinv(transform.matrix))
    weight = inverse @ folded.conv4.weight.double().flatten(1)
    teacher.conv4.weight.copy_(weight.view_as(teacher.conv4.weight))


def keep_on_grid(student: PDN, teacher4: nn.Conv2d) -> None:
    """Have `student` compute with rounded weights from now on. teacher4: the teacher's folded last convolution."""
    parametrize.register_parametrization(student.conv1, "weight", _OnGrid(scale=input_scale()))
    for conv in (student.conv2, student.conv3):
        parametrize.register_parametrization(conv, "weight", _OnGrid())
    parametrize.register_parametrization(student.conv4, "weight", _OnGrid(step=step_of(teacher4.weight)))


def settle(student: PDN) -> None:
    """Undo `keep_on_grid`, keeping the rounded weights."""
    for name in ("conv1", "conv2", "conv3", "conv4"):
        parametrize.remove_parametrizations(getattr(student, name), "weight", leave_parametrized=True)
