"""What surrounds the core, exact in float32: masking, RevIN and the discrete Fourier transform as constant matrices.

A window is scaled by the mean and standard deviation of its unmasked samples (RevIN, Kim et al., ICLR 2022), masked
samples hold a learnt token in scaled units, and one affine map shared by all channels follows. The spectrum is that
of the masked, scaled series: real parts of bins 0 to S/2 - 1, then imaginary parts, each divided by their largest
absolute value; bin S/2 goes past the core (arXiv 2505.13033, section 3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from edge_ad.detectors.tspulse.config import TsPulseConfig


class Scale(NamedTuple):
    """Mean and standard deviation of a window, (B, 1) each."""

    mean: Tensor
    std: Tensor


class Spectrum(NamedTuple):
    """values: (B, S), within [-1, 1]. real, imaginary: what each half was divided by. last: bin S/2. (B, 1) each."""

    values: Tensor
    real: Tensor
    imaginary: Tensor
    last: Tensor


class Scaling(nn.Module):
    """The learnt mask token and affine map of RevIN, and the constant matrices of the Fourier transform."""

    def __init__(self, config: TsPulseConfig):
        super().__init__()
        self.context, self.patch, self.floor = config.context, config.patch, config.scale_floor
        self.token = nn.Parameter(torch.randn(config.patch) * 0.1)
        self.gain, self.offset = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))
        forward, inverse = fourier_matrices(config.context)
        self.register_buffer("forward_dft", forward, persistent=False)
        self.register_buffer("inverse_dft", inverse, persistent=False)

    def statistics(self, x: Tensor, observed: Tensor) -> Scale:
        """Of the observed samples of x (B, S); observed: ones and zeros, (B, S)."""
        n = observed.sum(1, keepdim=True).clamp_min(1.0)
        mean = (x * observed).sum(1, keepdim=True) / n
        variance = ((x - mean) * observed).square().sum(1, keepdim=True) / n
        return Scale(mean, variance.clamp_min(self.floor).sqrt())

    def scaled(self, x: Tensor, observed: Tensor, scale: Scale) -> Tensor:
        """x (B, S) in scaled units, with the token where it is not observed."""
        token = self.token.repeat(self.context // self.patch)
        inside = (x - scale.mean) / scale.std
        return (inside * observed + token * (1 - observed)) * self.gain + self.offset

    def unscaled(self, scaled: Tensor, scale: Scale) -> Tensor:
        """Back to the units of x."""
        return (scaled - self.offset) / self.gain * scale.std + scale.mean

    def spectrum(self, scaled: Tensor) -> Spectrum:
        """Of scaled series (B, S)."""
        half = self.context // 2
        bins = scaled @ self.forward_dft
        real, imaginary, last = bins[:, :half], bins[:, half : 2 * half], bins[:, 2 * half :]
        real_size = real.abs().amax(1, keepdim=True) + self.floor
        imaginary_size = imaginary.abs().amax(1, keepdim=True) + self.floor
        values = torch.cat([real / real_size, imaginary / imaginary_size], dim=1)
        return Spectrum(values, real_size, imaginary_size, last)

    def series(self, values: Tensor, like: Spectrum, first: int = 0) -> Tensor:
        """The scaled series from sample `first` on, (B, S - first), of a spectrum's values (B, S)."""
        half = self.context // 2
        bins = torch.cat([values[:, :half] * like.real, values[:, half:] * like.imaginary, like.last], dim=1)
        return bins @ self.inverse_dft[:, first:]


def fourier_matrices(size: int) -> tuple[Tensor, Tensor]:
    """The real Fourier transform of `size` (even) samples and its inverse, (S, S + 1) and (S + 1, S) float32.

    Columns of the first: real parts of bins 0 to S/2 - 1, their imaginary parts, the real part of bin S/2.
    """
    half = size // 2
    angle = 2 * np.pi / size * (np.outer(np.arange(size), np.arange(half)) % size)
    alternating = np.where(np.arange(size) % 2, -1.0, 1.0)[:, None]
    forward = np.concatenate([np.cos(angle), -np.sin(angle), alternating], axis=1)
    share = np.full(half, 2.0 / size)
    share[0] = 1.0 / size
    inverse = np.concatenate([share * np.cos(angle), -share * np.sin(angle), alternating / size], axis=1).T
    return torch.from_numpy(forward.astype(np.float32)), torch.from_numpy(
        np.ascontiguousarray(inverse, dtype=np.float32)
    )
