"""Channels of a tensor brought to ranges that 8 bits hold alike, which changes nothing in float.

A quantizer takes one step for all channels of an activation, so that a channel whose values are small beside the
largest one's has few. Where nothing stands between two layers but what keeps a positive factor of a channel (ReLU,
pooling, resizing, padding by zeros), the channel may be multiplied in the one and divided in the other: Nagel et al.,
"Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1. The factor is taken of
activations instead of the first layer's weights, whose quantizer has a step for each output channel anyway:
sqrt(w / a), with a the largest value of the channel and w the size of the weights that read it (Xiao et al.,
"SmoothQuant", ICML 2023, eq. 4, with alpha = 0.5), so that a and w come out equal and neither is all of the spread.

Pruning makes it needed: few channels are left of which some have to be large, and what was learned anew has whatever
scale it was begun with. Of EfficientAD `small` pruned by 79 % on kolektor_sdd, INT8 moved scores of held-back normal
images by 0.89 of their standard deviation without it and the rounding that follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edge_ad.compile.prune.anatomy import Link

LEAST = 1e-3  # of the largest: what a range or a weight counts as at least, so that a dead channel gets no huge factor


@torch.no_grad()
def equalise(network: nn.Module, links: Sequence[Link], inputs: Tensor) -> None:
    """Scale the channels of each link, in place. inputs: (n, …), what ranges are taken on.

    Afterwards the largest value of each tensor on these inputs is 1, so that tensors that share a quantizer, as those
    that are concatenated do, have the same range.
    """
    for link, largest in zip(links, _largest(network, links, inputs), strict=True):
        if not largest.max() > 0:
            continue
        maker = network.get_submodule(link.maker)
        readers = [network.get_submodule(name) for name in link.readers]
        factor = _factors(largest, torch.stack([_share(reader) for reader in readers]).amax(0))
        _scale(maker, factor)
        for reader in readers:
            assert isinstance(reader.weight, Tensor)
            reader.weight.div_(factor.view(1, -1, *[1] * (reader.weight.ndim - 2)))


def _largest(network: nn.Module, links: Sequence[Link], inputs: Tensor) -> list[Tensor]:
    """The largest magnitude of each channel (C,) of what the links' readers take."""
    found: dict[Link, Tensor] = {}
    hooks = []
    for link in links:

        def keep(_module: nn.Module, given: tuple[Tensor], link: Link = link) -> None:
            values = given[0].abs().transpose(0, 1).flatten(1).amax(1)
            found[link] = torch.maximum(found[link], values) if link in found else values

        hooks.append(network.get_submodule(link.readers[0]).register_forward_pre_hook(keep))
    try:
        for row in inputs.split(1):
            network(row)
    finally:
        for hook in hooks:
            hook.remove()
    return [found[link] for link in links]


def _share(reader: nn.Module) -> Tensor:
    """The size (C,) of the weights that read each channel, relative to all of their output channel's, as the step of
    their quantizer is."""
    assert isinstance(reader.weight, Tensor)
    squares = reader.weight.flatten(2).square().sum(2) if reader.weight.ndim > 2 else reader.weight.square()
    return (squares / squares.sum(1, keepdim=True).clamp_min(1e-30)).mean(0).sqrt()


def _factors(largest: Tensor, share: Tensor) -> Tensor:
    """What each channel (C,) is multiplied by."""
    a = largest.clamp_min(LEAST * float(largest.max()))
    w = share.clamp_min(LEAST * float(share.max()))
    factor = (w / a).sqrt()
    return factor / (factor * a).max()


def _scale(maker: nn.Module, factor: Tensor) -> None:
    """Multiply what a layer gives."""
    assert isinstance(maker.weight, Tensor)
    maker.weight.mul_(factor.view(-1, *[1] * (maker.weight.ndim - 1)))
    if isinstance(maker.bias, Tensor):
        maker.bias.mul_(factor)
