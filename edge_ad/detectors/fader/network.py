"""The inpainting U-Net and the MLP that attenuates its skip connections.

The U-Net is RIAD's (Zavrtanik et al., Pattern Recognition 112, 2021) with ReLU for LeakyReLU, which fuses into
convolutions of 8 bits. The attenuation follows Park et al., "Feature Attenuation of Defective Representation Can
Resolve Incomplete Masking on Anomaly Detection", arXiv 2407.04597: two MLP layers weigh features down that belong to
a defect. How it is wired in detail is not published where we could read it and is ours (docs/fader.md).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MIN_HIDDEN = 8
OPEN_BIAS = 6.0  # an untrained gate lets sigmoid(6) = 99.8 % through


class Block(nn.Module):
    """3x3 convolution, batch norm, ReLU. (N, c_in, H, W) to (N, c_out, H / stride, W / stride)."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, stride, 1)
        self.norm: nn.Module = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class UNet(nn.Module):
    """Three levels of two blocks each, a bottleneck of two, and back; nearest up-sampling, skips concatenated.

    widths: channels of the levels, the bottleneck last. Input and output (N, 3, H, W), H and W multiples of 8; the
    output is linear.
    """

    def __init__(self, widths: tuple[int, int, int, int]):
        super().__init__()
        self.widths = widths
        levels = widths[:-1]
        inputs = (3, *widths[:-2])
        self.encoder = nn.ModuleList(
            nn.Sequential(Block(before, c), Block(c, c)) for before, c in zip(inputs, levels, strict=True)
        )
        self.down = nn.ModuleList(Block(c, c, 2) for c in levels)
        self.bottleneck = nn.Sequential(Block(levels[-1], widths[-1]), Block(widths[-1], widths[-1]))
        self.up = nn.ModuleList(Block(deeper, c) for deeper, c in zip(widths[1:], levels, strict=True))
        self.decoder = nn.ModuleList(nn.Sequential(Block(2 * c, c), Block(c, c)) for c in levels)
        self.out = nn.Conv2d(levels[0], 3, 3, 1, 1)

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Skip features of each level, the shallowest first, and the bottleneck's output."""
        skips = []
        for level, down in zip(self.encoder, self.down, strict=True):
            skips.append(level(x))
            x = down(skips[-1])
        return skips, self.bottleneck(x)

    def decode(self, skips: list[Tensor], x: Tensor, gates: nn.ModuleDict | None = None) -> Tensor:
        """The reconstruction from what `encode` gave. gates: by level, from (decoder's, skip) features to both."""
        for level in reversed(range(len(skips))):
            x = self.raised(level, x)
            gate = None if gates is None or str(level) not in gates else gates[str(level)]
            joined = torch.cat([x, skips[level]], 1) if gate is None else gate(x, skips[level])
            first, second = self.decoder_blocks(level)
            x = second(first(joined))
        return self.out(x)

    def raised(self, level: int, x: Tensor) -> Tensor:
        """x of the level below at twice its size and with the channels of `level`."""
        return self.up[level](F.interpolate(x, scale_factor=2.0, mode="nearest"))

    def decoder_blocks(self, level: int) -> tuple[nn.Module, nn.Module]:
        """The two blocks behind the join of `level`."""
        first, second = self.decoder[level]  # type: ignore[misc]
        return first, second

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(*self.encode(x))


class Attenuation(nn.Module):
    """One level's MLP: cell means of the features to one factor a cell, 1 keep to 0 drop.

    Features (N, C, H, W), cells of `cell` x `cell` positions. What is dropped is replaced by `prototype` (C), which
    is zero unless it has been set.
    """

    def __init__(self, channels: int, cell: int, replace: bool):
        super().__init__()
        hidden = max(MIN_HIDDEN, channels // 4)
        self.cell, self.replace = cell, replace
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.weigh = nn.Conv2d(hidden, 1, 1)
        self.register_buffer("prototype", torch.zeros(channels))
        nn.init.zeros_(self.weigh.weight)
        nn.init.constant_(self.weigh.bias, OPEN_BIAS)  # type: ignore[arg-type]

    def logits(self, features: Tensor) -> Tensor:
        """Factors before the sigmoid, (N, 1, H / cell, W / cell)."""
        return self.weigh(F.relu(self.reduce(F.avg_pool2d(features, self.cell))))

    def apply_factors(self, features: Tensor, factors: Tensor) -> Tensor:
        """factors * features + (1 - factors) * prototype."""
        wide = F.interpolate(factors, scale_factor=float(self.cell), mode="nearest")
        if not self.replace:
            return wide * features
        return wide * features + (1 - wide) * self.prototype.view(1, -1, 1, 1)

    def forward(self, decoded: Tensor, features: Tensor) -> Tensor:
        """The decoder's features (N, C, H, W), joined by the attenuated ones of the skip connection: (N, 2 C, H, W)."""
        gated = self.apply_factors(features, torch.sigmoid(self.logits(features)))
        return torch.cat([decoded, gated], 1)


class Inpainter(nn.Module):
    """The U-Net with gates on some of its skip connections. (N, 3, H, W) to (N, 3, H, W), linear."""

    def __init__(self, unet: UNet, gates: Mapping[str, nn.Module]):
        super().__init__()
        self.unet = unet
        self.gates = nn.ModuleDict(dict(gates))

    def forward(self, x: Tensor) -> Tensor:
        return self.unet.decode(*self.unet.encode(x), self.gates)


def make_gates(
    widths: tuple[int, ...], levels: tuple[int, ...], cell_px: int, kind: str
) -> dict[str, Attenuation]:
    """Untrained gates of `levels`, by level; none for kind "none"."""
    if kind == "none":
        return {}
    return {
        str(i): Attenuation(widths[i], max(1, cell_px >> i), kind == "prototype") for i in sorted(set(levels))
    }
