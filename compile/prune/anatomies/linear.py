"""Convolutions of EfficientAD's networks as linear maps, and their weights solved for on the grid of INT8.

What a convolution gives, or two whose outputs are subtracted, is linear in what they take: a least-squares problem for
the weights that come nearest to a given output. Its exact solution is of no use in 8 bits: it takes differences of
large multiples of features, and of their rounding too. So inputs count as known to a step of 8 bits only: the expected
squared error over that noise is the error plus the squared weights times its variance, step^2 / 12 (ridge regression as
in Bishop, "Training with Noise is Equivalent to Tikhonov Regularization", Neural Computation 7, 1995).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_ad.compile.prune.anatomies.differences import Differences
from edge_ad.detectors.efficientad.grid import HALF_RANGE, LEVELS, input_scale
from edge_ad.detectors.efficientad.simplify import normalise

STEPS = 255  # of an input's largest value
FLOOR = 1e-6  # of the mean of the squares: least ridge, for features that are always zero

# (positions, depth + 1) taken, (positions, C) wanted, weight of the errors
Rows = tuple[Tensor, Tensor, float]


@dataclass(frozen=True)
class Side:
    """A convolution as part of a sum: the network that it is in, its sign, and whether it takes pixels."""

    root: nn.Module
    conv: nn.Conv2d
    sign: float = 1.0
    pixels: bool = False

    def taken(self, x: Tensor) -> Tensor:
        """What it takes of normalised pixels (1, 3, S, S), (1, depth, h, w), in the units of the simplified network."""
        found: list[Tensor] = []

        def keep(_module: nn.Module, given: tuple[Tensor]) -> None:
            found.append(given[0])
            raise _Enough

        hook = self.conv.register_forward_pre_hook(keep)
        try:
            self.root(x)
        except _Enough:
            pass
        finally:
            hook.remove()
        return found[0] / input_scale() if self.pixels else found[0]

    def columns(self, x: Tensor) -> Tensor:
        """What each of its weights is multiplied with, (positions, depth * k * k)."""
        conv = self.conv
        size, stride = (conv.kernel_size[0], conv.kernel_size[1]), (conv.stride[0], conv.stride[1])
        assert isinstance(conv.padding, tuple)
        padding = (conv.padding[0], conv.padding[1])
        return self.sign * F.unfold(self.taken(x), size, padding=padding, stride=stride)[0].T

    def weights(self) -> Tensor:
        """(C, depth * k * k), as the simplified network has them."""
        scale = input_scale() if self.pixels else torch.ones(())
        return (self.conv.weight * scale).flatten(1)

    def set_weights(self, weights: Tensor) -> None:
        """The other way round."""
        scale = input_scale() if self.pixels else torch.ones(())
        self.conv.weight.copy_(weights.view_as(self.conv.weight) / scale)


class _Enough(Exception):  # noqa: N818 (no error: the rest of a network need not be run)
    pass


def last_sums(network: Differences) -> Iterator[list[Side]]:
    """The convolutions of each difference."""
    yield [
        Side(network.teacher, network.teacher.conv4),
        Side(network.student, network.student.conv4, -1.0),
    ]
    if network.autoencoder is not None and network.student_ae is not None:
        other = nn.Sequential(_Features(network.student), network.student_ae)
        yield [
            Side(network.autoencoder, network.autoencoder.conv8),
            Side(other, network.student_ae, -1.0),
        ]


class _Features(nn.Module):
    """The features of a student, whose second head is a layer of its own while a network is pruned."""

    def __init__(self, student: nn.Module):
        super().__init__()
        self.student = student

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.student.features(x)  # type: ignore[operator]
        return found


def inner_sums(network: Differences) -> Iterator[list[Side]]:
    """Each other convolution by itself, those before others first."""
    for pdn in (network.teacher, network.student):
        yield [Side(pdn, pdn.conv1, pixels=True)]
        yield [Side(pdn, pdn.conv2)]
        yield [Side(pdn, pdn.conv3)]
    if network.autoencoder is not None:
        layers = [layer for layer in network.autoencoder.modules() if isinstance(layer, nn.Conv2d)]
        for index, layer in enumerate(layers[:-1]):
            yield [Side(network.autoencoder, layer, pixels=index == 0)]


def taken_by(sides: list[Side], pixels: Tensor, most: int) -> Tensor:
    """What the weights and the bias of a sum are multiplied with for pixels (1, 3, S, S), at about `most` positions,
    evenly spaced: (positions, depth + 1)."""
    x = normalise(pixels)
    columns = torch.cat([evenly(side.columns(x), most) for side in sides], 1)
    return torch.cat([columns, torch.ones(len(columns), 1)], 1)


def evenly(rows: Tensor, most: int) -> Tensor:
    """At least `most` of all rows and less than twice as many, from all over; all where there are fewer."""
    return rows[:: max(1, len(rows) // most)]


def joint_weights(sides: list[Side]) -> Tensor:
    """The weights of a sum and its bias, (C, depth + 1)."""
    bias = torch.stack([side.sign * _bias(side.conv) for side in sides]).sum(0)
    return torch.cat([*(side.weights() for side in sides), bias[:, None]], 1)


@torch.no_grad()
def solve(sides: list[Side], rows: Iterable[Rows]) -> None:
    """Set the weights of a sum to the solution for inputs and weights of 8 bits. Its bias goes to the first part."""
    now = joint_weights(sides).double()
    n = now.shape[1]
    gram, error = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, len(now), dtype=torch.float64)
    largest, total = torch.zeros(n - 1, dtype=torch.float64), 0.0
    for given_, wanted, weight in rows:
        given = (
            given_.double()
        )  # a picture's patches are so alike that sums in float32 are not positive definite
        largest = torch.maximum(largest, given[:, :-1].abs().amax(0))
        total += weight * len(given)
        gram += weight * (given.T @ given)
        error += weight * (given.T @ (wanted.double() - given @ now.T))
    noise = torch.zeros(n, dtype=torch.float64)
    begin = 0
    for side in sides:
        part = slice(begin, begin + side.conv.weight[0].numel())
        noise[part] = total * (float(largest[part].max()) / STEPS) ** 2 / 12
        begin = part.stop
    noise += FLOOR * gram.diagonal().mean()
    gram += noise.diag()
    solved = _on_grid(now + torch.linalg.solve(gram, error - noise[:, None] * now.T).T, gram).float()
    begin = 0
    for side in sides:
        part = slice(begin, begin + side.conv.weight[0].numel())
        side.set_weights(solved[:, part])
        _bias(side.conv).zero_()
        begin = part.stop
    _bias(sides[0].conv).copy_(solved[:, -1])


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _on_grid(weights: Tensor, gram: Tensor) -> Tensor:
    """Round weights (C, depth + 1), the bias last, to the steps that INT8 will take (`efficientad.grid`), column by
    column; what rounding one does to the output, those that come after it make good (Frantar et al., "GPTQ",
    arXiv 2210.17323, algorithm 1). The largest of each row, from which the quantizer takes its step, stays."""
    found, rows = weights.clone(), torch.arange(len(weights))
    largest = found[:, :-1].abs().max(1)
    step = largest.values.clamp_min(1e-12) / HALF_RANGE
    end = found[rows, largest.indices].clone()
    factor = torch.linalg.cholesky(torch.linalg.inv(gram), upper=True)
    for column in range(found.shape[1] - 1):
        own = found[:, column].clone()
        rounded = (own / step).round().clamp(-LEVELS, LEVELS) * step
        rounded = torch.where(largest.indices == column, end, rounded)
        found[:, column] = rounded
        found[:, column + 1 :] -= ((own - rounded) / factor[column, column])[:, None] * factor[
            column, column + 1 :
        ]
    return found
