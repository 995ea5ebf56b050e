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
from torch import Tensor

from edge_ad.compile.prune.anatomy import Anatomy
from edge_ad.compile.prune.groups import Group

Pairs = Sequence[tuple[Tensor, Tensor]]  # a normal input and its altered copy, (1, …) each


def importances(anatomy: Anatomy, groups: Sequence[Group], pairs: Pairs) -> list[Tensor]:
    """Of each group, the importance of its channels (width,), in squared units of the score."""
    found = [torch.zeros(group.width, dtype=torch.float64) for group in groups]
    for normal, changed in pairs:
        usual, other = (_gates(anatomy, groups, x) for x in (normal, changed))
        for total, a, b in zip(found, usual, other, strict=True):
            total += (a.square() + (b - a).square()) / len(pairs)
    return found


def _gates(anatomy: Anatomy, groups: Sequence[Group], x: Tensor) -> list[Tensor]:
    """dS/dg of every channel of every group, for one input."""
    read = {part.tensor for group in groups for part in group.reads}
    tensors = {name: p for name, p in anatomy.network.named_parameters() if name in read}
    with torch.enable_grad():
        score = anatomy.score(anatomy.network(x), x).sum()
        grads = torch.autograd.grad(score, list(tensors.values()), allow_unused=True)
    products = {
        name: None if grad is None else (tensor.detach() * grad).double()
        for (name, tensor), grad in zip(tensors.items(), grads, strict=True)
    }
    return [_gate(group, products) for group in groups]


def _gate(group: Group, products: Mapping[str, Tensor | None]) -> Tensor:
    """The sum over all that scales a channel. products: tensor times gradient, None where the score has none."""
    total = torch.zeros(group.width, dtype=torch.float64)
    for part in group.reads:
        product = products[part.tensor]
        if product is not None:
            total += (
                product.movedim(part.axis, 0).reshape(product.shape[part.axis], -1).sum(1)[part.places].sum(1)
            )
    return total
