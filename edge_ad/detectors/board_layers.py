"""Layers of networks as plain arrays, for what quantizes them itself. Images are (H, W, C), as boards hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Kind = Literal["dense", "convolution", "doubling"]


@dataclass(frozen=True)
class Layer:
    """weights: (rows, depth) of a dense layer, else (rows, k, k, C). bias (rows,). relu: negative results become 0.

    convolution: kernel 4, stride 2, padding 1. doubling: a transposed convolution with the same, as
    `edge_ad.runtime.integer.layers16.doubling16` has it, its rows (2, 2, output).
    """

    kind: Kind
    weights: Float64
    bias: Float64
    relu: bool


def apply(layer: Layer, x: Float64) -> Float64:
    """A layer in float64 of what it takes: (depth,) for a dense one, else (H, W, C)."""
    if layer.kind == "dense":
        y = layer.weights @ x.ravel() + layer.bias
        return np.maximum(y, 0.0) if layer.relu else y
    k, stride = layer.weights.shape[1], 2 if layer.kind == "convolution" else 1
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), (0, 1))[::stride, ::stride]  # type: ignore[call-overload]
    y = np.einsum("hwcij,oijc->hwo", windows, layer.weights) + layer.bias
    if layer.kind == "doubling":
        h, w, rows = y.shape
        pixels = y.reshape(h, w, 2, 2, rows // 4).transpose(0, 2, 1, 3, 4)
        y = pixels.reshape(2 * h, 2 * w, rows // 4)[1:-1, 1:-1]
    return np.maximum(y, 0.0) if layer.relu else y
