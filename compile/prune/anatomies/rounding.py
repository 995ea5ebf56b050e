"""All of EfficientAD's weights on the grid of INT8, layer by layer, at next to no cost in float.

The fit ends on that grid (`efficientad.grid`); recovery leaves it. Rounded to the nearest step, the weights of `small`
pruned by 79 % on kolektor_sdd alone moved scores of held-back normal images by 0.86 of their standard deviation: the
difference of teacher and student is small beside their features, and so is what rounding does to these. Rounded one
after the other, each making good on real patches what rounding those before it did (`linear.solve`), and each layer on
what the rounded ones before it give, they and the activations together move them by 0.02.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from edge_ad.compile.prune.anatomies.differences import Differences
from edge_ad.compile.prune.anatomies.linear import (
    Rows,
    Side,
    evenly,
    inner_sums,
    joint_weights,
    last_sums,
    solve,
    taken_by,
)

POSITIONS = 1000  # of each tensor of an image, evenly spaced ones
ROWS = 24_000  # of the last tensors, in all: several times as many as a convolution has weights


@torch.no_grad()
def put_on_grid(network: nn.Module, inputs: Tensor) -> None:
    """Round the weights of all convolutions, in place; what they give on inputs (n, 3, S, S) hardly changes."""
    assert isinstance(network, Differences)
    cells = network(inputs[:1])[0][0, 0].numel()
    images = evenly(inputs, -(-ROWS // min(cells, POSITIONS))).split(1)
    sums = [*inner_sums(network), *last_sums(network)]
    wanted = [
        [taken_by(sides, image, POSITIONS) @ joint_weights(sides).T for image in images] for sides in sums
    ]
    for sides, outputs in zip(sums, wanted, strict=True):
        solve(sides, _rows(sides, images, outputs))


def _rows(sides: list[Side], images: tuple[Tensor, ...], outputs: list[Tensor]) -> Iterator[Rows]:
    for pixels, wanted in zip(images, outputs, strict=True):
        yield taken_by(sides, pixels, POSITIONS), wanted, 1.0
