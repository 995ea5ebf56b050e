"""Statistics of teacher outputs over normal images, and the linear output transforms fitted to them.

A transform t' = matrix t + bias costs nothing at run time: it folds into the teacher's last convolution.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edge_ad.errors import ModelError

Float64 = npt.NDArray[np.float64]

DEFAULT_FLOOR = 0.01  # of the mean eigenvalue of the correlation matrix, which is 1


@dataclass(frozen=True)
class OutputTransform:
    """t' = matrix @ t + bias for teacher outputs t (C,); matrix (C, C), bias (C,)."""

    matrix: Float64
    bias: Float64


def feature_statistics(outputs: Iterable[Tensor]) -> tuple[Float64, Float64]:
    """Mean (C,) and covariance (C, C) over all positions of all `outputs` (N, C, H, W), in float64.

    Streams: holds one batch at a time. Batches are merged after Chan, Golub & LeVeque, "Updating formulae and
    a pairwise algorithm for computing sample variances" (1979), which loses nothing to a large mean. Raises
    ModelError for no output at all and for values that are not finite.
    """
    count, mean, scatter = 0, np.zeros(0), np.zeros((0, 0))
    for batch in outputs:
        rows = batch.detach().double().movedim(1, -1).reshape(-1, batch.shape[1])
        n, batch_mean = len(rows), rows.mean(0)
        centred = rows - batch_mean
        batch_scatter = (centred.T @ centred).numpy()
        if not np.isfinite(batch_scatter).all():
            raise ModelError("the teacher's outputs are not finite", hint="use other teacher weights")
        if count == 0:
            mean, scatter = np.zeros(rows.shape[1]), np.zeros((rows.shape[1],) * 2)
        delta = batch_mean.numpy() - mean
        scatter += batch_scatter + np.outer(delta, delta) * (count * n / (count + n))
        mean = mean + delta * (n / (count + n))
        count += n
    if count == 0:
        raise ModelError("there is no image to fit the teacher's statistics on")
    return mean, scatter / count


def standardise(mean: Float64, covariance: Float64) -> OutputTransform:
    """Zero mean and unit variance for each channel by itself (arXiv 2303.14535, Algorithm 1).

    A channel that never varies is set to zero. Raises ModelError when none varies.
    """
    gain = _channel_gain(covariance)
    return OutputTransform(np.diag(gain), -gain * mean)


def whiten(
    mean: Float64, covariance: Float64, *, floor: float = DEFAULT_FLOOR, strength: float = 1.0
) -> OutputTransform:
    """Decorrelate the channels: ZCA of the standardised outputs, so that |t'|^2 is a Mahalanobis distance.

    With correlation matrix U diag(e) U^T the outputs are U diag((e + floor)^(-strength/2)) U^T times the
    standardised ones, scaled to a mean variance of 1; strength 0 is `standardise`, 1 whitens in full. `floor`
    bounds the gain of directions that hardly vary. ZCA-cor as in Kessy, Lewin & Strimmer, "Optimal Whitening
    and Decorrelation", The American Statistician 72 (2018). Raises ModelError as `standardise` does, and for
    a floor or strength out of range.
    """
    if not floor > 0:
        raise ModelError(f"the whitening floor must be above 0, not {floor}")
    if not 0 <= strength <= 1:
        raise ModelError(f"the whitening strength must be within 0 and 1, not {strength}")
    gain = _channel_gain(covariance)
    eigenvalues, vectors = np.linalg.eigh(covariance * np.outer(gain, gain))
    eigenvalues = np.maximum(eigenvalues, 0)
    scale = (eigenvalues + floor) ** (-strength / 2)
    scale *= np.sqrt((gain > 0).sum() / (eigenvalues * scale**2).sum())
    matrix = (gain > 0)[:, None] * ((vectors * scale) @ vectors.T * gain)
    return OutputTransform(matrix, -matrix @ mean)


def fold_into(conv: nn.Conv2d, transform: OutputTransform) -> nn.Conv2d:
    """A copy of `conv` whose outputs are already transformed; exact up to the rounding of its weights.

    Raises ModelError when the transform is for another number of channels.
    """
    channels = conv.out_channels
    if transform.matrix.shape != (channels, channels) or transform.bias.shape != (channels,):
        raise ModelError(f"an output transform of {len(transform.bias)} channels does not fit {channels}")
    matrix = torch.from_numpy(transform.matrix)
    folded = nn.Conv2d(
        conv.in_channels, channels, (conv.kernel_size[0], conv.kernel_size[1]), conv.stride, conv.padding
    )  # fmt: skip
    weight = matrix @ conv.weight.detach().double().flatten(1)
    bias = torch.from_numpy(transform.bias)
    if conv.bias is not None:
        bias = bias + matrix @ conv.bias.detach().double()
    assert folded.bias is not None
    with torch.no_grad():
        folded.weight.copy_(weight.view_as(conv.weight))
        folded.bias.copy_(bias)
    return folded


def _channel_gain(covariance: Float64) -> Float64:
    """1 / standard deviation of each channel, 0 for one that never varies."""
    variance = np.diag(covariance)
    varies = variance > 1e-10 * max(float(variance.mean()), 1e-30)
    if not varies.any():
        raise ModelError(
            "the teacher's outputs are the same everywhere on the normal images",
            hint="check that the images are not blank, or use other teacher weights",
        )
    return np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1)), 0.0)
