"""A fully connected autoencoder: MLPerf Tiny's anomaly detector (Banbury et al., arXiv 2106.07597, section 4.1; the
DCASE 2020 task 2 baseline) for vectors of any width."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_linear_bn_eval


class Body(nn.Module):
    """Vectors (N, width) to their reconstruction, (N, width): layers with BatchNorm and ReLU but for the last one."""

    def __init__(self, width: int, widths: tuple[int, ...], latent: int):
        super().__init__()
        sizes = [width, *widths, latent, *reversed(widths)]
        self.layers = nn.Sequential()
        for inner, outer in pairwise(sizes):
            self.layers.extend([nn.Linear(inner, outer), nn.BatchNorm1d(outer), nn.ReLU()])
        self.layers.append(nn.Linear(sizes[-1], width))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found


def folded(body: Body) -> nn.Sequential:
    """The same function with each BatchNorm folded into the layer before it."""
    return nn.Sequential(*_folded(body.layers))


def _folded(layers: nn.Sequential) -> Iterable[nn.Module]:
    modules = list(layers)
    for module, after in zip(modules, [*modules[1:], None], strict=True):
        if isinstance(module, nn.Linear) and isinstance(after, nn.BatchNorm1d):
            yield fuse_linear_bn_eval(module.eval(), after.eval())
        elif not isinstance(module, nn.BatchNorm1d):
            yield module


class Front(nn.Module):
    """A standardised window (1, C, rows) as one vector, for the layers and, past them, for the comparison."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        vector = x.flatten(1)
        return vector, vector


class Tail(nn.Module):
    """The reconstruction (1, C * rows), and each channel's mean squared error (1, C)."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def forward(self, reconstruction: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        errors = (reconstruction - vector).square().reshape(1, self.channels, -1).mean(-1)
        # A copy, since an input of a graph cannot at the same time be its output.
        return reconstruction + 0.0, errors


def untrained(width: int, widths: tuple[int, ...], latent: int, seed: int) -> Body:
    """A body with weights drawn by `seed`."""
    torch.manual_seed(seed)
    return Body(width, widths, latent)
