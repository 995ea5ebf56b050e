"""A small detector of images in which one layer, `block.wide`, loses its score in INT8: one channel of its input
reaches five hundred times as far as the others, and its weights take it back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from edge_ad.bundle.manifest import HeadSpec, InputSpec, Threshold
from edge_ad.compile.target import Calibration
from edge_ad.data.inputs import Inputs, Normals
from edge_ad.detectors.base import Part, Staged
from edge_ad.runtime.preprocess import resize_spec

SIDE = 40
SHAPE = (1, 3, SIDE, SIDE)
REACH = 500.0
PLANTED = "block.wide"
LAYERS = ("first", "block.wide", "block.back", "block.sum", "last")


class _Front(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.float() / 127.5 - 1


class _Block(nn.Module):
    """Widths differ from layer to layer, so that weights tell which is which."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.back = nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(12, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        made = torch.relu(self.wide(x))
        return made[:, :8] + self.back(made)


class _Core(nn.Module):
    def __init__(self, reach: float) -> None:
        super().__init__()
        self.first, self.block, self.last = nn.Conv2d(3, 8, 3), _Block(), nn.Conv2d(8, 4, 3)
        with torch.no_grad():
            self.first.weight[0] *= reach
            self.first.bias[0] *= reach
            self.block.wide.weight[:, 0] /= reach

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.block(nn.functional.max_pool2d(torch.relu(self.first(x)), 2)))


class _Tail(nn.Module):
    def forward(self, made: Tensor) -> Tensor:
        return made.square().mean((2, 3))


class Planted:
    """As much of a detector as the compiler asks for."""

    outputs = ("errors",)
    input = InputSpec(modality="image", shape=SHAPE, dtype="uint8", preprocess=resize_spec(SIDE, SIDE))

    def __init__(self, reach: float = REACH) -> None:
        torch.manual_seed(1)
        self.core = _Core(reach)
        self.whole = Staged(_Front(), self.core, _Tail()).eval()

    def network(self) -> nn.Module:
        return self.whole

    def simplified(self) -> nn.Module:
        return self.whole

    def parts(self) -> dict[str, Part]:
        return {}

    def fit_head(self, outputs: Iterable[Mapping[str, np.ndarray]], parts: object) -> HeadSpec:
        return HeadSpec(name="mean-error", params={"output": "errors"})

    def finish_head(self, head: HeadSpec, threshold: Threshold) -> HeadSpec:
        return head


def pictures(n: int, seed: int = 0) -> list[np.ndarray]:
    """(SIDE, SIDE, 3) uint8, smooth with some noise and of different brightness."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, SIDE)[:, None, None] * rng.uniform(40, 120, (n, 1, 1, 3))
    noisy = ramp + rng.uniform(20, 90, (n, 1, 1, 1)) + rng.normal(0, 8, (n, SIDE, SIDE, 3))
    return list(np.clip(noisy, 0, 255).astype(np.uint8))


def batches(n: int = 12) -> list[np.ndarray]:
    """The same, as the network takes them."""
    return [np.ascontiguousarray(one.transpose(2, 0, 1)[None]) for one in pictures(n)]


def calibration(n: int = 12) -> Calibration:
    def made() -> Iterator[np.ndarray]:
        return iter(batches(n))

    return Calibration(made, n)


def normals(n: int = 12) -> Normals:
    found = Inputs(n, lambda: iter(pictures(n)))
    return Normals(n, found, Inputs(0, lambda: iter(())), 0)
