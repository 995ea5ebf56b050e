"""Networks that are not ours, in plain torch, exported as anybody would."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGENET = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).reshape(2, 1, 3, 1, 1)


class SimpleNet(nn.Module):
    """The shape of SimpleNet (Liu et al., CVPR 2023): features of two scales, smoothed and resized to one, an adaptor,
    a discriminator by place; its map is resized to the image. (N, 3, h, w) of ImageNet's pixels to (N, 1, h, w), and a
    mask that no head takes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.adaptor = nn.Conv2d(24, 16, 1)
        self.discriminator = nn.Sequential(
            nn.Conv2d(16, 16, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 1, bias=False)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first(x)
        second = self.second(first)
        features = [F.avg_pool2d(f, 3, 1, 1) for f in (first, second)]
        features[1] = F.interpolate(features[1], size=first.shape[-2:], mode="bilinear")
        grid = -self.discriminator(self.adaptor(torch.cat(features, 1)))
        map_ = F.interpolate(grid, size=x.shape[-2:], mode="bilinear")
        return map_, map_ > 0


class SeriesAutoencoder(nn.Module):
    """A convolutional autoencoder of windows (N, rows, channels), channels last as Keras has them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(channels, 12, 5, 2, 2), nn.ReLU(), nn.Conv1d(12, 6, 5, 2, 2), nn.ReLU()
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose1d(6, 12, 4, 2, 1), nn.ReLU(), nn.ConvTranspose1d(12, channels, 4, 2, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x.transpose(1, 2))).transpose(1, 2)


class FeatureReconstruction(nn.Module):
    """The shape of DFR (Shi et al., 2020): features of two scales, a narrow network of 1 x 1 convolutions that
    reconstructs them, the mean squared error by place. (N, 3, h, w) to (N, 1, h / 2, w / 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.narrow = nn.Sequential(nn.Conv2d(24, 6, 1), nn.ReLU(), nn.Conv2d(6, 24, 1))

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        features = torch.cat([first, F.interpolate(self.second(first), scale_factor=2.0)], 1)
        difference = features - self.narrow(features)
        return (difference * difference).mean(1, keepdim=True)


def export(
    network: nn.Module, shape: tuple[int, ...], path: Path, *, opset: int = 17, outputs: tuple[str, ...] = ("out",),
    dynamic: tuple[int, ...] = (), new: bool = False,
) -> Path:  # fmt: skip
    """Write `network` as ONNX, input `given`. dynamic: dimensions that are left open. new: by torch's present exporter,
    which puts weights beside the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {"given": {place: f"d{place}" for place in dynamic}} if dynamic else None
        torch.onnx.export(
            network.eval(), (torch.rand(shape),), path, dynamo=new, opset_version=opset, input_names=["given"],
            output_names=list(outputs), dynamic_axes=axes, verbose=False, external_data=new,
        )  # fmt: skip
    return path
