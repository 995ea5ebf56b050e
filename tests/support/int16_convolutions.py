"""Random convolutions to int16: as graphs, with what NumPy makes of their inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_ad.compile.integer.draft import Draft
from edge_ad.compile.integer.graph import Graph, Tensor
from edge_ad.compile.integer.operators.convolution import LIMITS, VALID
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.runtime.integer.convolution import LIMIT, convolution_int16


@dataclass(frozen=True)
class Case:
    graph: Graph
    shape: tuple[int, ...]
    weights: np.ndarray
    bias: np.ndarray
    scales: np.ndarray  # of the accumulator, over the output's
    zero: int
    stride: int
    limits: tuple[int, int]

    def expected(self, values: np.ndarray) -> np.ndarray:
        pairs = np.array([quantize_multiplier(float(s)) for s in self.scales], np.int64)
        return convolution_int16(
            values[0], self.weights, self.bias, pairs[:, 0], pairs[:, 1], input_zero=self.zero,
            stride=(self.stride,) * 2, limits=self.limits,
        )  # fmt: skip


def random_case(rng: np.random.Generator) -> Case:
    depth, units = int(rng.integers(1, 20)), int(rng.integers(1, 11))
    taps, stride = int(rng.integers(1, 5)), int(rng.integers(1, 3))
    h, w = (int(rng.integers(taps, taps + 7)) for _ in range(2))
    zero = int(rng.integers(-128, 128))
    weights = rng.integers(-127, 128, (units, taps, taps, depth)).astype(np.int8)
    if rng.random() < 0.2:
        weights[:] = 127
    bias = rng.integers(-20000, 20000, units).astype(np.int32)
    # from what uses a few values to what saturates, and coarser accumulators than outputs
    scales = 2.0 ** rng.uniform(-12, 1) * rng.uniform(0.3, 1, units)
    limits = (-LIMIT, LIMIT) if rng.random() < 0.5 else (0, 8160)
    draft = Draft()
    x = draft.tensor((1, h, w, depth), np.int8, 1.0, zero)
    kernel = len(draft.tensors)
    draft.tensors.append(
        Tensor(kernel, "", weights.shape, np.dtype(np.int8), tuple(scales), (0,) * units, 0, weights)
    )
    b = draft.constant(bias)
    side = [(n - taps) // stride + 1 for n in (h, w)]
    y = draft.tensor((1, *side, units), np.int16, 1.0, 0)
    draft.node("CONV_2D", [x, kernel, b], y, padding=VALID, strideH=stride, strideW=stride, dilationHFactor=1,
               dilationWFactor=1, fusedActivationFunction=0, **{LIMITS: limits})  # fmt: skip
    return Case(
        draft.graph([x], [y]), (1, h, w, depth), weights, bias.astype(np.int64), scales, zero, stride, limits
    )
