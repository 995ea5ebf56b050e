"""What the U-Net does not get to see: masks on a grid of cells, and the mosaic that is shown instead.

Every mask is a fixed function of the image, without randomness: images (N, 3, S, S) of values 0..1 to (N, 1, g, g)
with 1 for a hidden cell. Park et al., "Excision and Recovery" (the base method of FADeR), take it from a vision
transformer, which no small device runs; these are the substitutes:

    mosaic    hides every cell
    template  hides cells whose mean is unlike the same cell's on good parts, and their neighbours; needs aligned parts
    two-pass  hides what the first pass, which hides everything, reconstructs worst
    saliency  hides cells whose PDN features are unlike those of good parts, wherever they lie
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_ad.detectors.efficientad.network import PAD_CELLS, PDN, STRIDE_PX
from edge_ad.detectors.efficientad.simplify import MEAN, STD
from edge_ad.detectors.efficientad.statistics import feature_statistics
from edge_ad.detectors.efficientad.teacher import load_teacher
from edge_ad.detectors.fader.config import FaderConfig

PDN_WIDTHS, PDN_CHANNELS = (16, 32, 32), 32
_CHUNK = 16


class HideAll(nn.Module):
    """Every cell."""

    def __init__(self, grid: int):
        super().__init__()
        self.register_buffer("mask", torch.ones(1, 1, grid, grid))

    def forward(self, x: Tensor) -> Tensor:
        return self.mask.expand(len(x), -1, -1, -1)

    def fit(self, images: Tensor) -> None:
        """Nothing to learn."""


class TemplateDeviation(nn.Module):
    """Cells whose mean colour is more than `deviation` standard deviations from that of good parts, grown by one."""

    def __init__(self, grid: int, cell_px: int, deviation: float):
        super().__init__()
        self.cell_px, self.deviation = cell_px, deviation
        self.register_buffer("mean", torch.zeros(1, 3, grid, grid))
        self.register_buffer("limit", torch.ones(1, 3, grid, grid))

    def forward(self, x: Tensor) -> Tensor:
        unlike = (F.avg_pool2d(x, self.cell_px) - self.mean).abs() > self.limit
        return F.max_pool2d(unlike.float().amax(1, keepdim=True), 3, 1, 1)

    def fit(self, images: Tensor) -> None:
        """Mean and deviation of each cell over `images` (N, 3, S, S) uint8; no cell's is below one grey level."""
        boxes = torch.cat(
            [F.avg_pool2d(chunk.double() / 255, self.cell_px) for chunk in images.split(_CHUNK)]
        )
        self.mean.copy_(boxes.mean(0, keepdim=True))
        self.limit.copy_(self.deviation * boxes.std(0, keepdim=True).clamp_min(1 / 255))


class Saliency(nn.Module):
    """Cells where the features of EfficientAD's untrained teacher are farthest from those of good parts.

    Distance: mean over channels of squared deviations over variances (Mahalanobis, diagonal), one mean and variance
    for all positions. Cells above the (1 - share) quantile of good parts are hidden.
    """

    def __init__(self, cell_px: int, share: float):
        super().__init__()
        self.cell = cell_px // STRIDE_PX
        self.share = share
        self.pdn: PDN = load_teacher("random-dct", PDN_WIDTHS, PDN_CHANNELS)[0]
        self.register_buffer("mean", torch.zeros(1, PDN_CHANNELS, 1, 1))
        self.register_buffer("precision", torch.ones(1, PDN_CHANNELS, 1, 1))
        self.register_buffer("limit", torch.zeros(1))
        self.register_buffer("colour_mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("colour_std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (self.distance(x) > self.limit).float()

    def distance(self, x: Tensor) -> Tensor:
        """(N, 1, g, g); at the border, where the PDN has no output, that of the nearest cell that has one."""
        features = self.pdn((x - self.colour_mean) / self.colour_std)
        found = ((features - self.mean).square() * self.precision).mean(1, keepdim=True)
        return F.avg_pool2d(F.pad(found, (PAD_CELLS,) * 4, mode="replicate"), self.cell)

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Statistics of the features over `images` (N, 3, S, S) uint8, and the limit of their distances."""

        def features() -> Iterator[Tensor]:
            for chunk in images.split(_CHUNK):
                yield self.pdn((chunk.float() / 255 - self.colour_mean) / self.colour_std)

        mean, covariance = feature_statistics(features())
        variance = torch.from_numpy(covariance).diagonal().clamp_min(1e-8)
        self.mean.copy_(torch.from_numpy(mean).view_as(self.mean))
        self.precision.copy_((1 / variance).view_as(self.precision))
        distances = torch.cat(
            [self.distance(chunk.float() / 255).flatten() for chunk in images.split(_CHUNK)]
        )
        rank = max(1, round((1 - self.share) * distances.numel()))
        # between two distances, so that no cell of these images lies on the limit and turns with the last digit
        near = distances.kthvalue(rank).values + distances.kthvalue(min(rank + 1, distances.numel())).values
        self.limit.copy_(near / 2)


Mask = HideAll | TemplateDeviation | Saliency


def make_mask(config: FaderConfig) -> Mask:
    """The mask that needs no pass of the U-Net; its statistics are not fitted yet."""
    if config.mask == "template":
        return TemplateDeviation(config.grid, config.cell_px, config.deviation)
    if config.mask == "saliency":
        return Saliency(config.cell_px, config.mask_share)
    return HideAll(config.grid)


def worst_cells(x: Tensor, reconstruction: Tensor, cell_px: int, share: float) -> Tensor:
    """The `share` of the cells that are reconstructed worst, (N, 1, g, g): 1 for those."""
    error = F.avg_pool2d((x - reconstruction).square().mean(1, keepdim=True), cell_px)
    flat = error.flatten(1)
    limit = flat.topk(max(1, round(share * flat.shape[1])), dim=1).values[:, -1:]
    return (error >= limit.view(-1, 1, 1, 1)).float()


def mosaic(x: Tensor, block_px: int) -> Tensor:
    """Each block of `block_px` x `block_px` pixels replaced by its mean; exact for whole numbers below 2^14."""
    return F.interpolate(F.avg_pool2d(x, block_px), scale_factor=float(block_px), mode="nearest")


def hide(x: Tensor, mask: Tensor, block_px: int) -> Tensor:
    """x where `mask` (N, 1, g, g) is 0, its mosaic where it is 1."""
    wide = F.interpolate(mask, scale_factor=float(x.shape[-1] // mask.shape[-1]), mode="nearest")
    return x + wide * (mosaic(x, block_px) - x)
