"""Weighting a teacher's outputs for a product, by what defects drawn into its normal images change.

A whitened teacher treats all directions of its output space alike, although many of them hardly answer to
defects and only add noise to the score. Which ones answer is measured on normal images alone: synthetic
defects are drawn into them, and each direction is weighted by how far the defects move it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from edge_ad.data.defects import defective
from edge_ad.detectors.efficientad.network import PDN, RECEPTIVE_FIELD_PX, STRIDE_PX
from edge_ad.detectors.efficientad.simplify import normalise
from edge_ad.detectors.efficientad.statistics import (
    DEFAULT_FLOOR,
    Float64,
    OutputTransform,
    feature_statistics,
    whiten,
)
from edge_ad.errors import ModelError

MAX_IMAGES = 60
DEFECTS_PER_IMAGE = 3
DEFAULT_POWER = 0.5
_CENTRE_PX = 17  # a defect counts for a position when it lies in the middle of its receptive field
_CENTRE_SHARE = 0.03


def affected_positions(masks: npt.NDArray[np.bool_]) -> Tensor:
    """Which output positions (N, H/4 - 8, W/4 - 8) have part of a defect at their centre; masks (N, H, W)."""
    margin = (RECEPTIVE_FIELD_PX - _CENTRE_PX) // 2
    inner = torch.from_numpy(masks[:, margin:-margin, margin:-margin]).float()
    return F.avg_pool2d(inner, _CENTRE_PX, STRIDE_PX) > _CENTRE_SHARE


@torch.no_grad()
def defect_moment(teacher: PDN, images: Tensor, mean: Float64, seed: int) -> Float64:
    """Second moment (C, C) of the teacher's outputs about `mean` where synthetic defects lie.

    images: normal images (N, 3, S, S) uint8, of which at most MAX_IMAGES are used; they are not changed.
    Raises ModelError when no defect could be seen, as on images too small for the receptive field.
    """
    chosen = images[np.linspace(0, len(images) - 1, min(len(images), MAX_IMAGES)).round().astype(int)]
    changed, masks = defective(chosen.permute(0, 2, 3, 1).numpy(), seed, DEFECTS_PER_IMAGE)
    affected = affected_positions(masks)
    total, count = np.zeros((len(mean), len(mean))), 0
    for image, where in zip(changed, affected, strict=True):
        outputs = teacher(normalise(torch.from_numpy(image).permute(2, 0, 1)[None]))[0].float()
        rows = outputs[:, where].double().numpy().T - mean
        total += rows.T @ rows
        count += len(rows)
    if count == 0:
        raise ModelError("no synthetic defect was visible in the normal images")
    return total / count


def emphasise(
    mean: Float64,
    covariance: Float64,
    moment: Float64,
    *,
    power: float = DEFAULT_POWER,
    floor: float = DEFAULT_FLOOR,
) -> OutputTransform:
    """Whiten, then weight each direction by the power of the second moment that defects have there.

    In whitened space the defects' moment is V diag(l) V^T; the outputs are V diag(l^(power/2)) V^T times the
    whitened ones, scaled to a mean variance of 1 on normal images, so |t'|^2 counts direction i with weight
    l_i^power. power 0 is `whiten`; with 1, |t'|^2 is the mean squared inner product with the defects seen.
    Compare the quadratic discriminant between two Gaussians of equal mean (Hastie, Tibshirani & Friedman, "The
    Elements of Statistical Learning", 4.3), whose weights 1 - 1/l saturate. Raises ModelError as `whiten`.
    """
    if not 0 <= power <= 1:
        raise ModelError(f"the power of the defect weights must be within 0 and 1, not {power}")
    white = whiten(mean, covariance, floor=floor).matrix
    eigenvalues, vectors = np.linalg.eigh(white @ moment @ white.T)
    matrix = (vectors * np.maximum(eigenvalues, 0) ** (power / 2)) @ vectors.T @ white
    varying = np.diag(covariance) > 0
    matrix *= np.sqrt(varying.sum() / np.trace(matrix @ covariance @ matrix.T))
    return OutputTransform(matrix, -matrix @ mean)


def fit_emphasis(teacher: PDN, images: Tensor, seed: int, *, power: float = DEFAULT_POWER) -> OutputTransform:
    """The whole of it: statistics of `teacher` on normal `images` (N, 3, S, S) uint8, then `emphasise`."""
    with torch.no_grad():
        mean, covariance = feature_statistics(teacher(normalise(image[None])) for image in images)
    return emphasise(mean, covariance, defect_moment(teacher, images, mean, seed), power=power)
