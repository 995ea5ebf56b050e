"""STARNet's variational autoencoder (arXiv 2309.11006) with a Gaussian decoder of one fixed variance."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

LOGVAR_RANGE = (-8.0, 4.0)
_KERNEL = 4  # stride 2, padding 1: halves and doubles exactly


class Encoder(nn.Module):
    """Features (N, C, H, W), or vectors (N, C), to mean and log variance (N, latent) of the posterior."""

    def __init__(self, shape: tuple[int, ...], widths: tuple[int, int, int], latent: int):
        super().__init__()
        self.body = nn.Sequential()
        if len(shape) == 1:
            sizes = [shape[0], *widths[:2]]
            for a, b in pairwise(sizes):
                self.body.extend([nn.Linear(a, b), nn.ReLU()])
            flat = widths[1]
        else:
            sizes = [shape[0], *widths]
            for a, b in pairwise(sizes):
                self.body.extend([nn.Conv2d(a, b, _KERNEL, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()])
            self.body.append(nn.Flatten())
            flat = widths[-1] * (shape[1] // 8) * (shape[2] // 8)
        self.mean = nn.Linear(flat, latent)
        self.logvar = nn.Linear(flat, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x)
        return self.mean(h), self.logvar(h).clamp(*LOGVAR_RANGE)


class Decoder(nn.Module):
    """A point of the latent space (N, latent) to features (N, C, H, W), or vectors (N, C)."""

    def __init__(self, shape: tuple[int, ...], widths: tuple[int, int, int], latent: int):
        super().__init__()
        self.body = nn.Sequential()
        if len(shape) == 1:
            sizes = [latent, widths[1], widths[0]]
            for a, b in pairwise(sizes):
                self.body.extend([nn.Linear(a, b), nn.ReLU()])
            self.body.append(nn.Linear(widths[0], shape[0]))
            return
        small = (widths[-1], shape[1] // 8, shape[2] // 8)
        self.body.extend(
            # As many channels as the layer before gives, which is fewer once it has been pruned.
            [nn.Linear(latent, math.prod(small)), nn.ReLU(), nn.Unflatten(1, (-1, *small[1:]))]
        )
        for a, b in ((widths[2], widths[1]), (widths[1], widths[0])):
            self.body.extend(
                [nn.ConvTranspose2d(a, b, _KERNEL, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
            )
        self.body.append(nn.ConvTranspose2d(widths[0], shape[0], _KERNEL, 2, 1))

    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = self.body(z)
        return found


def kl_divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, 1)), (N,) nats."""
    return -0.5 * (1 + logvar - mean * mean - logvar.exp()).sum(1)


class Reconstruction(nn.Module):
    """What `Front` gives to what the decoder makes of the posterior's mean, and that mean and log variance."""

    def __init__(self, encoder: Encoder, decoder: Decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, found: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.encoder(found[0])
        return self.decoder(mean), mean, logvar


class Front(nn.Module):
    """Preprocessed features to the standardised ones that are encoded, and past the encoder the same once more and
    their Mahalanobis distance (1, 1)."""

    def __init__(self, mean: Tensor, std: Tensor, row_mean: Tensor, row_std: Tensor):
        """mean, std: of each channel, for broadcasting. row_mean, row_std: of the means along the last axis."""
        super().__init__()
        for name, value in (("mean", mean), ("std", std), ("row_mean", row_mean), ("row_std", row_std)):
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = (x - self.mean) / self.std
        distance = (features.mean(-1) - self.row_mean) / self.row_std
        return features, features, distance.square().flatten(1).mean(1, keepdim=True)


class VectorFront(Front):
    """The same of windows (1, C, 1) of one row each: the encoder takes (1, C)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, _, distance = super().forward(x)
        return features.flatten(1), features.flatten(1), distance


class Tail(nn.Module):
    """Names the outputs: what the encoder gives and what went past it."""

    def forward(
        self, mean: Tensor, logvar: Tensor, features: Tensor, distance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # Copies, since an input of a graph cannot at the same time be its output.
        return mean + 0.0, logvar.clamp(*LOGVAR_RANGE), features + 0.0, torch.relu(distance)
