"""How alike an image and its reconstruction are: SSIM, and gradient magnitudes at several scales (MSGMS).

Images (N, C, H, W) of values 0..1. Zavrtanik, Kristan, Skočaj: "Reconstruction by inpainting for visual anomaly
detection" (RIAD), Pattern Recognition 112, 2021, sections 3.2 and 3.3.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

SCALES = 3  # full size, half, quarter
GRADIENT_C = 0.0026  # c of the gradient magnitude similarity
GRADIENT_FLOOR = 1e-12  # under the root, so that its derivative is finite on flat areas
_SSIM_PX, _SSIM_SIGMA_PX = 11, 1.5
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Squared gradient magnitude and its root, (N, C, H, W) each: Prewitt's filters over 3, borders repeated."""
    channels = x.shape[1]
    across = torch.tensor([[-1.0, 0.0, 1.0]] * 3) / 3
    kernels = torch.stack([across, across.T]).unsqueeze(1).repeat(channels, 1, 1, 1)
    both = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernels, groups=channels)
    squared = both[:, 0::2].square() + both[:, 1::2].square() + GRADIENT_FLOOR
    return squared, squared.sqrt()


def gradient_similarity(x: Tensor, y: Tensor) -> Tensor:
    """GMS as published, (2 g1 g2 + c) / (g1^2 + g2^2 + c), (N, C, H, W)."""
    (a, g1), (b, g2) = gradients(x), gradients(y)
    return (2 * g1 * g2 + GRADIENT_C) / (a + b + GRADIENT_C)


def gradient_dissimilarity(x: Tensor, y: Tensor) -> Tensor:
    """1 - GMS as (g1 - g2)^2 / (g1^2 + g2^2 + c): the same number without the difference of two near 1."""
    (a, g1), (b, g2) = gradients(x), gradients(y)
    return (g1 - g2).square() / (a + b + GRADIENT_C)


def msgms_map(x: Tensor, y: Tensor, *, published: bool = False) -> Tensor:
    """1 - GMS, averaged over channels and over SCALES scales, (N, 1, H, W).

    Scales are halved by 2x2 means; maps are stretched bilinearly to the full size. published: by the published
    formula, to check the other with.
    """
    size = list(x.shape[2:])
    total = torch.zeros(1)
    for scale in range(SCALES):
        if scale:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        found = 1 - gradient_similarity(x, y) if published else gradient_dissimilarity(x, y)
        found = found.mean(1, keepdim=True)
        total = total + (
            F.interpolate(found, size=size, mode="bilinear", align_corners=False) if scale else found
        )
    return total / SCALES


def smooth(maps: Tensor, side: int) -> Tensor:
    """Mean over the `side` x `side` pixels around each one, fewer at the border."""
    return F.avg_pool2d(maps, side, 1, side // 2, count_include_pad=False)


def msgms_loss(x: Tensor, y: Tensor) -> Tensor:
    """Mean of 1 - GMS over pixels, channels and scales; a scalar."""
    losses = []
    for scale in range(SCALES):
        if scale:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        losses.append(gradient_dissimilarity(x, y).mean())
    return torch.stack(losses).mean()


def ssim_loss(x: Tensor, y: Tensor) -> Tensor:
    """1 - SSIM with a Gaussian window of 11 px and sigma 1.5; a scalar.

    Wang, Bovik, Sheikh, Simoncelli: "Image quality assessment: from error visibility to structural similarity",
    IEEE Trans. Image Process. 13, 2004, equation 13. Only windows that lie inside the image count.
    """
    moments = torch.stack([x, y, x * x, y * y, x * y])
    # a product with a banded matrix: several times as fast on a CPU as convolutions of one channel
    down, across = _window_matrix(x.shape[2]).T, _window_matrix(x.shape[3])
    mean_x, mean_y, xx, yy, xy = down @ moments @ across
    covariance, variances = xy - mean_x * mean_y, xx - mean_x**2 + yy - mean_y**2
    numerator = (2 * mean_x * mean_y + _SSIM_C1) * (2 * covariance + _SSIM_C2)
    return 1 - (numerator / ((mean_x**2 + mean_y**2 + _SSIM_C1) * (variances + _SSIM_C2))).mean()


@lru_cache(maxsize=8)
def _window_matrix(size: int) -> Tensor:
    """(size, size - 10): what turns a row of `size` values into its Gaussian means."""
    position = torch.arange(_SSIM_PX, dtype=torch.float32) - _SSIM_PX // 2
    window = torch.exp(-(position**2) / (2 * _SSIM_SIGMA_PX**2))
    count = size - _SSIM_PX + 1
    matrix = torch.zeros(size, count)
    for column in range(count):
        matrix[column : column + _SSIM_PX, column] = window / window.sum()
    return matrix


def reconstruction_losses(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """RIAD's loss terms of reconstruction y against x, of equal weight: L2, SSIM, MSGMS."""
    return {"l2": F.mse_loss(y, x), "ssim": ssim_loss(x, y), "msgms": msgms_loss(x, y)}
