"""How much a channel matters: what the score loses when it goes.

For each input, dS/dg of a gate g = 1 that multiplies the channel wherever it is read is, to first order, what the
score S loses without the channel. Its square, averaged over inputs, is Fisher pruning's criterion (Theis et al.,
"Faster gaze prediction with dense networks and Fisher pruning", arXiv 1801.05787, section 2.2; the same as eq. 8 of
Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019), of the score instead of a loss: at
the fitted weights a loss that compares with the unpruned network has no gradient, and the size of weights (magnitude
pruning) knows nothing of the difference of two nearly equal features that an anomaly score is.

Two figures are taken of each normal input and its altered copy: the margin, S(altered) - S(normal), which keeps
anomalies apart, and S(normal), whose spread is the threshold's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edge_ad.compile.prune.anatomy import Anatomy
from edge_ad.compile.prune.groups import Group, Layer

Pairs = Sequence[tuple[Tensor, Tensor]]  # a normal input and its altered copy, (1, …) each


def importances(
    anatomy: Anatomy, layers: Mapping[str, Layer], groups: Sequence[Group], pairs: Pairs
) -> list[Tensor]:
    """Of each group, the importance of its channels (width,), in squared units of the score."""
    found = [torch.zeros(group.width, dtype=torch.float64) for group in groups]
    for normal, changed in pairs:
        usual, other = (_gates(anatomy, layers, groups, x) for x in (normal, changed))
        for total, a, b in zip(found, usual, other, strict=True):
            total += (a.square() + (b - a).square()) / len(pairs)
    return found


def _gates(anatomy: Anatomy, layers: Mapping[str, Layer], groups: Sequence[Group], x: Tensor) -> list[Tensor]:
    """dS/dg of every channel of every group, for one input."""
    weights = [layer.weight for layer in layers.values()]
    biases = [layer.bias for layer in layers.values() if layer.bias is not None]
    with torch.enable_grad():
        score = anatomy.score(anatomy.network(x), x).sum()
        grads = torch.autograd.grad(score, [*weights, *biases], allow_unused=True)
    by_tensor = {id(t): g for t, g in zip([*weights, *biases], grads, strict=True)}
    return [_gate(layers, group, by_tensor) for group in groups]


@torch.no_grad()
def _gate(layers: Mapping[str, Layer], group: Group, grads: Mapping[int, Tensor | None]) -> Tensor:
    """The sum over all layers that read a channel; of channels that none reads, over those that make it."""
    total = torch.zeros(group.width, dtype=torch.float64)
    for member in group.consumers or group.producers:
        layer = layers[member.name]
        per_channel = _products(layer, member.outputs, grads)
        total += per_channel[member.channels].sum(1)
    return total


def _products(layer: Layer, outputs: bool, grads: Mapping[int, Tensor | None]) -> Tensor:
    """Sum of weight * gradient of each input or output channel of a layer."""
    transposed = isinstance(layer, nn.ConvTranspose2d)
    axis = 0 if outputs != transposed else 1
    grad = grads[id(layer.weight)]
    found = torch.zeros(layer.weight.shape[axis], dtype=torch.float64)
    if grad is not None:
        found += (layer.weight * grad).double().movedim(axis, 0).flatten(1).sum(1)
    if outputs and layer.bias is not None and (bias := grads[id(layer.bias)]) is not None:
        found += (layer.bias * bias).double()
    return found
