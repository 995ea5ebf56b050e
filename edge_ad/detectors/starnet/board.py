"""STARNet's networks as a microcontroller runs them: the same functions as plain layers over arrays.

Images are (H, W, C) here, as boards hold them, batch normalisation is folded, and a transposed convolution is a
convolution of fewer taps. Nothing is quantized yet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edge_ad.detectors.board_layers import Float64, Layer
from edge_ad.detectors.starnet.network import Decoder, Encoder


@dataclass(frozen=True)
class BoardNetworks:
    """body: features (H, W, C), or a vector (C,), to the values of which mean and logvar (latent,) are made, flat.
    decoder: a point of the latent space (latent,) to features, its first layer flat, as (`grid`) from there on."""

    body: tuple[Layer, ...]
    mean: Layer
    logvar: Layer
    decoder: tuple[Layer, ...]
    grid: tuple[int, ...]


@torch.no_grad()
def board_networks(encoder: Encoder, decoder: Decoder) -> BoardNetworks:
    """The layers of fitted networks, in the order in which they run."""
    layers, body = list(decoder.body), list(encoder.body)
    first = layers[0]
    if isinstance(body[0], nn.Linear):
        hidden = [_dense(layer, relu=True) for layer in body if isinstance(layer, nn.Linear)]
        made = [layer for layer in layers if isinstance(layer, nn.Linear)]
        decoding = [_dense(layer, relu=layer is not made[-1]) for layer in made]
        return BoardNetworks(
            tuple(hidden),
            _dense(encoder.mean),
            _dense(encoder.logvar),
            tuple(decoding),
            (first.out_features,),
        )
    convolutions = [_convolution(body[i], body[i + 1]) for i in range(0, len(body) - 1, 3)]
    unflatten = layers[2]
    assert isinstance(unflatten, nn.Unflatten)
    _, h, w = unflatten.unflattened_size
    c = first.out_features // (h * w)
    mean, logvar = (
        Layer("dense", layer.weights[:, _channels_last(layer.weights.shape[1], h, w)], layer.bias, relu=False)
        for layer in (_dense(encoder.mean), _dense(encoder.logvar))
    )
    order = _channels_last(first.out_features, h, w)
    start, last = _dense(first, relu=True), len(layers) - 1
    doublings = [_doubling(layers[i], None if i == last else layers[i + 1]) for i in range(3, len(layers), 3)]
    decode = (Layer("dense", start.weights[order], start.bias[order], relu=True), *doublings)
    return BoardNetworks(tuple(convolutions), mean, logvar, decode, (h, w, c))


def _channels_last(size: int, h: int, w: int) -> npt.NDArray[np.int64]:
    """Where a board's flat tensor of `size` values has those of torch's, whose channels come first."""
    return np.arange(size).reshape(-1, h, w).transpose(1, 2, 0).ravel()


def _array(tensor: Tensor) -> Float64:
    return tensor.numpy().astype(np.float64)


def _dense(layer: nn.Module, *, relu: bool = False) -> Layer:
    assert isinstance(layer, nn.Linear)
    return Layer("dense", _array(layer.weight), _array(layer.bias), relu)


def _convolution(layer: nn.Module, norm: nn.Module) -> Layer:
    assert isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    folded = fuse_conv_bn_eval(layer.eval(), norm.eval())
    assert isinstance(folded, nn.Conv2d) and folded.bias is not None
    return Layer("convolution", _array(folded.weight.permute(0, 2, 3, 1)), _array(folded.bias), relu=True)


def _doubling(layer: nn.Module, norm: nn.Module | None) -> Layer:
    """Each output pixel has a contribution of 2 x 2 input pixels: a window of 2 x 2 of the image, padded by one, gives
    the four output pixels that lie between its pixels, each from taps of its own."""
    assert isinstance(layer, nn.ConvTranspose2d)
    weight = layer.weight.detach()  # (in, out, 4, 4)
    bias = torch.zeros(weight.shape[1]) if layer.bias is None else layer.bias.detach()
    if norm is not None:
        weight, bias = _folded(weight, bias, norm)
    taps = weight.new_zeros(2, 2, weight.shape[1], 2, 2, weight.shape[0])
    for row, column, y, x in np.ndindex(2, 2, 2, 2):
        taps[row, column, :, y, x, :] = weight[:, :, row + 2 - 2 * y, column + 2 - 2 * x].T
    return Layer("doubling", _array(taps.flatten(0, 2)), _array(bias.repeat(4)), relu=norm is not None)


def _folded(weight: Tensor, bias: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weights (in, out, …) and bias with batch normalisation of the outputs folded in."""
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    factor = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
    return weight * factor[None, :, None, None], (bias - norm.running_mean) * factor + norm.bias.detach()
