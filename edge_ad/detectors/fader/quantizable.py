"""The inpainter in the form that is quantized: the same function, pixels 0..255 in and out.

Batch norms and the scaling of pixels lie inside convolutions. Where a skip connection is attenuated, three things see
to it that a gate which keeps everything changes no bit of the 8-bit network:

- features are not multiplied by the factors, but what the factors lack of 1, times the features, is taken away: zero is
  exact on every scale, one is not;
- the first convolution behind is the sum of two, one over the decoder's features and one over the skip connection's. A
  concatenation would put both on one scale, which the features before the gate then share in a network without a
  gate and do not in one with it;
- so what is attenuated lies on the scale of what is not, and rounding to the scale on which a value lies already is
  the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edge_ad.detectors.fader.network import Attenuation, Block, Inpainter, UNet

WHITE = 255.0


class SubtractedAttenuation(nn.Module):
    """`Attenuation` as features - (1 - factors) * (features - prototype); 1 - sigmoid(z) is sigmoid(-z)."""

    def __init__(self, gate: Attenuation):
        super().__init__()
        self.cell, self.replace, self.reduce = gate.cell, gate.replace, gate.reduce
        self.weigh = nn.Conv2d(gate.weigh.in_channels, 1, 1)
        assert self.weigh.bias is not None and gate.weigh.bias is not None
        with torch.no_grad():
            self.weigh.weight.copy_(-gate.weigh.weight)
            self.weigh.bias.copy_(-gate.weigh.bias)
        self.register_buffer("prototype", gate.get_buffer("prototype").view(1, -1, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        lacking = torch.sigmoid(self.weigh(F.relu(self.reduce(F.avg_pool2d(features, self.cell)))))
        wide = F.interpolate(lacking, scale_factor=float(self.cell), mode="nearest")
        return features - wide * (features - self.prototype if self.replace else features)


class SplitBlock(nn.Module):
    """A block over joined features, its batch norm folded, as the sum of a convolution over each part of them: the
    decoder's `decoded` channels, then the skip connection's."""

    def __init__(self, block: Block, decoded: int):
        super().__init__()
        conv = block.conv
        self.decoded = nn.Conv2d(decoded, conv.out_channels, 3, 1, 1, bias=False)
        self.skipped = nn.Conv2d(conv.in_channels - decoded, conv.out_channels, 3, 1, 1)
        assert self.skipped.bias is not None and conv.bias is not None
        with torch.no_grad():
            self.decoded.weight.copy_(conv.weight[:, :decoded])
            self.skipped.weight.copy_(conv.weight[:, decoded:])
            self.skipped.bias.copy_(conv.bias)

    def forward(self, decoded: Tensor, skipped: Tensor) -> Tensor:
        return F.relu(self.decoded(decoded) + self.skipped(skipped))


class QuantizableInpainter(nn.Module):
    """`inpainter` on pixels, (N, 3, H, W) to (N, 3, H, W), linear. levels: to be split, whether with a gate or not."""

    def __init__(self, inpainter: Inpainter, levels: Sequence[int]):
        super().__init__()
        self.unet = on_pixels(fold_batch_norm(inpainter.unet))
        self.gates = nn.ModuleDict(
            {k: SubtractedAttenuation(g) for k, g in inpainter.gates.items() if isinstance(g, Attenuation)}
        )
        self.split = nn.ModuleDict()
        for level in levels:
            block, raising = (self.unet.get_submodule(name) for name in (f"decoder.{level}.0", f"up.{level}"))
            assert isinstance(block, Block) and isinstance(raising, Block)
            self.split[str(level)] = SplitBlock(block, raising.conv.out_channels)

    def forward(self, pixels: Tensor) -> Tensor:
        unet = self.unet
        skips, x = unet.encode(pixels)
        for level in reversed(range(len(skips))):
            x, skip, key = unet.raised(level, x), skips[level], str(level)
            if key in self.gates:
                skip = self.gates[key](skip)
            first, second = unet.decoder_blocks(level)
            x = second(self.split[key](x, skip) if key in self.split else first(torch.cat([x, skip], 1)))
        return unet.out(x)


def fold_batch_norm(unet: UNet) -> UNet:
    """A copy in evaluation mode whose batch norms lie inside their convolutions; exact up to rounding."""
    copy = deepcopy(unet).eval().requires_grad_(False)
    for name, block in unet.named_modules():
        if isinstance(block, Block) and isinstance(block.norm, nn.BatchNorm2d):
            ours = copy.get_submodule(name)
            assert isinstance(ours, Block)
            ours.conv, ours.norm = fuse_conv_bn_eval(block.conv, block.norm), nn.Identity()
    return copy


@torch.no_grad()
def on_pixels(unet: UNet) -> UNet:
    """Change `unet`, whose batch norms are folded, from values of 0..1 to pixels 0..255, in and out."""
    first = unet.get_submodule("encoder.0.0.conv")
    assert isinstance(first, nn.Conv2d) and unet.out.bias is not None
    first.weight.div_(WHITE)
    unet.out.weight.mul_(WHITE)
    unet.out.bias.mul_(WHITE)
    return unet
