"""STARNet's networks in the form that a microcontroller runs: the same functions, cheaper and without an operator that
a board lacks.

Feature images are (1, H, W, C) here, as boards hold them, batch normalisation is folded, and what stays in more than
8 bits stands apart: the layers that give the posterior and the one that takes a point of the latent space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edge_ad.detectors.starnet.network import Decoder, Encoder

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Dense:
    """weights (units, depth) and bias (units,) of a linear layer."""

    weights: Float64
    bias: Float64


@dataclass(frozen=True)
class BoardNetworks:
    """body: features to the hidden values (1, depth), none of them negative, of which `mean` and `logvar` are linear.

    first: a point of the latent space (latent,) to values whose ReLU, in `hidden_shape`, is what `rest` takes; rest
    gives features. Features: (1, H, W, C), or (1, C) of vectors.
    """

    body: nn.Module
    mean: Dense
    logvar: Dense
    first: Dense
    hidden_shape: tuple[int, ...]
    rest: nn.Module


@torch.no_grad()
def board_networks(encoder: Encoder, decoder: Decoder, shape: tuple[int, ...]) -> BoardNetworks:
    """shape: of the features without the batch, (C, H, W) or (C,)."""
    encoder, decoder = encoder.eval(), decoder.eval()
    layers = list(decoder.body)
    first = layers[0]
    assert isinstance(first, nn.Linear)
    if len(shape) == 1:
        return BoardNetworks(
            nn.Sequential(*encoder.body), _dense(encoder.mean), _dense(encoder.logvar), _dense(first),
            (1, first.out_features), nn.Sequential(*layers[2:]),
        )  # fmt: skip
    body = list(encoder.body)
    convolutions = [
        fuse_conv_bn_eval(body[i], body[i + 1])
        for i in range(0, len(body) - 1, 3)  # Conv2d, BatchNorm2d, ReLU; Flatten
    ]
    unflatten = layers[2]
    assert isinstance(unflatten, nn.Unflatten)
    c, h, w = unflatten.unflattened_size
    order = np.arange(c * h * w).reshape(c, h, w).transpose(1, 2, 0).ravel()
    start = _dense(first)
    doubling = []
    for i in range(3, len(layers), 3):  # ConvTranspose2d, BatchNorm2d, ReLU; the last one alone
        last = i == len(layers) - 1
        doubling.append(Doubling(layers[i], None if last else layers[i + 1], relu=not last))
    return BoardNetworks(
        _Body(convolutions),
        *(
            Dense(d.weights[:, order], d.bias)
            for d in (_dense(encoder.mean), _dense(encoder.logvar))
        ),
        Dense(start.weights[order], start.bias[order]),
        (1, h, w, c),
        nn.Sequential(*doubling),
    )


def _dense(layer: nn.Linear) -> Dense:
    return Dense(layer.weight.numpy().astype(np.float64), layer.bias.numpy().astype(np.float64))


class _Body(nn.Module):
    """Convolutions with ReLU, of an image (1, H, W, C), the result flat."""

    def __init__(self, convolutions: list[nn.Module]):
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        for convolution in self.convolutions:
            x = torch.relu(convolution(x))
        return x.permute(0, 2, 3, 1).flatten(1)


class Doubling(nn.Module):
    """A transposed convolution with kernel 4, stride 2 and padding 1, of an image (1, H, W, C), as a convolution with
    kernel 2: the same sums.

    Each output pixel has a contribution of 2 x 2 input pixels. A window of 2 x 2 of the input, padded by one, gives the
    four output pixels that lie between its pixels, each from taps of its own; the outermost ring of what comes out is
    of no output pixel.
    """

    def __init__(self, transposed: nn.Module, norm: nn.Module | None, *, relu: bool):
        super().__init__()
        assert isinstance(transposed, nn.ConvTranspose2d)
        weight = transposed.weight.detach()  # (in, out, 4, 4)
        bias = torch.zeros(weight.shape[1]) if transposed.bias is None else transposed.bias.detach()
        if norm is not None:
            weight, bias = _folded(weight, bias, norm)
        self.relu = relu
        self.outputs = weight.shape[1]
        self.convolution = nn.Conv2d(weight.shape[0], 4 * self.outputs, 2, padding=1)
        taps = weight.new_zeros(2, 2, self.outputs, weight.shape[0], 2, 2)  # output row and column of a window first
        for row, column, y, x in np.ndindex(2, 2, 2, 2):
            taps[row, column, :, :, y, x] = weight[:, :, row + 2 - 2 * y, column + 2 - 2 * x].T
        self.convolution.weight = nn.Parameter(taps.reshape(self.convolution.weight.shape))
        self.convolution.bias = nn.Parameter(bias.repeat(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x.permute(0, 3, 1, 2))
        y = (torch.relu(y) if self.relu else y).permute(0, 2, 3, 1)
        n, h, w, _ = y.shape
        # Row by row of pairs: what is moved at once lies together in memory.
        pairs = y.reshape(n, h, w, 2, 2 * self.outputs).permute(0, 1, 3, 2, 4)
        return pairs.reshape(n, 2 * h, 2 * w, self.outputs)[:, 1:-1, 1:-1]


def _folded(weight: Tensor, bias: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weights (in, out, …) and bias with batch normalisation of the outputs folded in."""
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    factor = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
    return weight * factor[None, :, None, None], (bias - norm.running_mean) * factor + norm.bias.detach()
