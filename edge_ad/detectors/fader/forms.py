"""FADeR as one network: plain, as published, and staged for quantization, computing the same map.

Both take raw pixels (1, 3, S, S) uint8 and give `maps` (1, 1, S, S) float32: how image and reconstruction differ, see
`comparison`. The head takes the maximum.
"""

from __future__ import annotations

from torch import Tensor, nn

from edge_ad.detectors.base import Staged
from edge_ad.detectors.fader.comparison import Comparison
from edge_ad.detectors.fader.config import FaderConfig
from edge_ad.detectors.fader.masks import Mask, hide, mosaic, worst_cells
from edge_ad.detectors.fader.network import Inpainter
from edge_ad.detectors.fader.quantizable import WHITE, QuantizableInpainter


class PlainNetwork(nn.Module):
    """Mask, inpaint, compare: each as published."""

    def __init__(self, config: FaderConfig, inpainter: Inpainter, mask: Mask, comparison: Comparison):
        super().__init__()
        self.config, self.inpainter, self.mask, self.comparison = config, inpainter, mask, comparison

    def without_attenuation(self) -> PlainNetwork:
        """The same with the U-Net alone."""
        return PlainNetwork(
            self.config, Inpainter(self.inpainter.unet, {}), self.mask, self.comparison
        ).eval()

    def hidden(self, x: Tensor) -> Tensor:
        """Which cells of x (N, 3, S, S), 0..1, are hidden: (N, 1, g, g), 1 for those."""
        mask = self.mask(x)
        if self.config.mask != "two-pass":
            return mask
        first = self.inpainter(hide(x, mask, self.config.mosaic_px))
        return worst_cells(x, first, self.config.cell_px, self.config.mask_share)

    def reconstruct(self, x: Tensor) -> Tensor:
        """x (N, 3, S, S), 0..1, inpainted; may leave 0..1."""
        return self.inpainter(hide(x, self.hidden(x), self.config.mosaic_px))

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.float() / WHITE
        y = self.reconstruct(x).clamp(0, 1)
        return self.comparison(x, y, published=True)


class Front(nn.Module):
    """What is exact before the U-Net: pixels to what it is shown, in pixels, then the image in 0..1.

    With two passes the U-Net is shown the mosaic first, and what the second pass hides is mixed from mosaic and
    image: both are given.
    """

    def __init__(self, config: FaderConfig, mask: Mask):
        super().__init__()
        self.config, self.mask = config, mask

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        whole = pixels.float()
        x = whole / WHITE
        if self.config.mask == "two-pass":
            return mosaic(whole, self.config.mosaic_px), whole, x
        if self.config.mask == "mosaic":
            return mosaic(whole, self.config.mosaic_px), x
        return hide(whole, self.mask(x), self.config.mosaic_px), x


class TwoPasses(nn.Module):
    """The U-Net on the mosaic, then on the image with only the worst cells of that hidden. Pixels in and out."""

    def __init__(self, config: FaderConfig, inpainter: nn.Module):
        super().__init__()
        self.config, self.inpainter = config, inpainter

    def forward(self, coarse: Tensor, pixels: Tensor) -> Tensor:
        mask = worst_cells(pixels, self.inpainter(coarse), self.config.cell_px, self.config.mask_share)
        return self.inpainter(hide(pixels, mask, self.config.mosaic_px))


class Tail(nn.Module):
    """What is exact behind the U-Net: its pixels and the image in 0..1 to the map."""

    def __init__(self, comparison: Comparison):
        super().__init__()
        self.comparison = comparison

    def forward(self, reconstruction: Tensor, x: Tensor) -> Tensor:
        return self.comparison(x, (reconstruction / WHITE).clamp(0, 1))


def staged(plain: PlainNetwork) -> Staged:
    """The same function with the U-Net as the part that is quantized, its batch norms and scaling folded."""
    inpainter = QuantizableInpainter(plain.inpainter, plain.config.attenuated_levels)
    front, tail = Front(plain.config, plain.mask), Tail(plain.comparison)
    if plain.config.mask == "two-pass":
        return Staged(front, TwoPasses(plain.config, inpainter), tail, core_inputs=2, pixels=True).eval()
    return Staged(front, inpainter, tail, pixels=True).eval()
