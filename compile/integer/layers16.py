"""Networks in 16 bits: float layers quantized to `edge_ad.runtime.integer.layers16`, run by it, and lowered.

16 bits are for networks of which small differences are asked, as a search by differences does. On Cortex-M4 and M7 they
take fewer instructions than 8 bits do: there is nothing to widen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.operators.rows16 import pack16, scratch16_bytes
from edge_ad.compile.integer.records import Buffer
from edge_ad.compile.integer.records.layers16 import Convolution16, Doubling16
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.detectors.board_layers import Kind, Layer
from edge_ad.errors import TargetError
from edge_ad.runtime.integer.functions import Int64
from edge_ad.runtime.integer.layers16 import Scaling, convolution16, dense16, doubling16

Shape = tuple[int, ...]
Float64 = npt.NDArray[np.float64]
_SUMS = 0.99 * (1 << 31)  # what the largest sums may reach, before weights are rounded
_MOST_WEIGHT = (1 << 15) - 1
_LEAST_UNIT = 1e-30  # of a row of zeros
_KERNEL, _STRIDE, _PAD = 4, 2, 1  # of a convolution


@dataclass(frozen=True)
class Range:
    """Integers from low to high, each standing for so many times `unit`."""

    unit: float
    low: int = -(1 << 15)
    high: int = (1 << 15) - 1


@dataclass(frozen=True)
class Layer16:
    """shape, out_shape: of what it takes and gives, (H, W, C) or (depth,). weights: as of `Layer`, in 16 bits."""

    kind: Kind
    shape: Shape
    out_shape: Shape
    weights: Int64
    scaling: Scaling

    def run(self, x: Int64) -> Int64:
        """The layer's result for integers in its shape."""
        x = x.reshape(self.shape)
        if self.kind == "dense":
            return dense16(x.ravel(), self.weights, self.scaling)
        if self.kind == "doubling":
            return doubling16(x, self.weights, self.scaling)
        return convolution16(
            x, self.weights, self.scaling, stride=_STRIDE, pad=_PAD
        )  # fmt: skip

    def emit(self, builder: Builder, source: Buffer) -> Buffer:
        """Append the layer; the buffer of its result."""
        rows = len(self.weights)
        flat = self.weights.reshape(rows, -1).astype(np.int16)
        depth = flat.shape[1]
        doubling = self.kind == "doubling"
        scratch = builder.buffer(scratch16_bytes(builder.kernels, depth, rows if doubling else 0))
        result = builder.buffer(2 * prod(self.out_shape))
        in_h, in_w, in_c = self.shape if len(self.shape) == 3 and self.kind != "dense" else (1, 1, depth)
        common = {
            "input": source, "output": result, "weights": builder.constant(pack16(builder.kernels, flat)),
            "channels": builder.constant(self.scaling.channels.astype(np.int32)), "scratch": scratch,
            "in_h": in_h, "in_w": in_w, "in_c": in_c, "rows": rows, "shift": self.scaling.shift,
            "low": self.scaling.low, "high": self.scaling.high,
        }  # fmt: skip
        if doubling:
            record: Convolution16 | Doubling16 = Doubling16(**common)  # type: ignore[arg-type]
            half = (
                rows // 2
            )  # of a window's rows are asked for at the upper and lower border, in groups of four
            results = (in_w + 1) * (in_h * rows - half // 4 * 4 + -(-half // 4) * 4)
        else:
            out_h, out_w = self.out_shape[:2] if self.kind == "convolution" else (1, 1)
            taps, stride, pad = (_KERNEL, _STRIDE, _PAD) if self.kind == "convolution" else (1, 1, 0)
            record = Convolution16(
                **common, out_h=out_h, out_w=out_w, k_h=taps, k_w=taps, stride=stride,  # type: ignore[arg-type]
                pad_top=pad, pad_left=pad,
            )  # fmt: skip
            results = out_h * out_w * rows
        builder.program.parameters += self.weights.size + rows
        builder.step(record, reads=[source, scratch], writes=[result], macs=results * depth)
        return result


def quantized(layer: Layer, shape: Shape, source: Range, result: Range, *, where: str) -> Layer16:
    """A layer from integers in one range to integers in another.

    Each row of weights has a unit of its own: the finest with which no input can make a sum of 32 bits overflow.
    Raises TargetError where the output's unit is too fine for the sums.
    """
    low = max(result.low, 0) if layer.relu else result.low
    limited = Range(result.unit, low, result.high)
    weights, scaling = rounded(layer.weights, layer.bias, source, limited, where=where)
    return Layer16(layer.kind, shape, out_shape(layer, shape), weights, scaling)


def rounded(
    weights: Float64, bias: Float64, source: Range, result: Range, *, where: str
) -> tuple[Int64, Scaling]:
    """Weights (rows, …) and bias (rows,) from float to the integers by which values in `source` give some in `result`.

    Raises as `quantized` does.
    """
    rows = weights.reshape(len(weights), -1)
    wide = np.abs(rows).max(1) / _MOST_WEIGHT
    units = np.maximum(_reach(rows, bias / source.unit, source) / _SUMS, np.maximum(wide, _LEAST_UNIT))
    while True:
        whole, sums = np.rint(rows / units[:, None]), np.rint(bias / (source.unit * units))
        over = _reach(whole, sums, source) >= 1 << 31
        if not over.any():
            break
        units = np.where(over, 1.01 * units, units)
    factors = source.unit * units / result.unit
    if factors.max() >= 1 << 30:
        raise TargetError("the output's unit is too fine for the sums", where=where)
    largest, shift = quantize_multiplier(float(factors.max()))
    multipliers = np.minimum(np.rint(factors * 2.0 ** (31 - shift)), largest)
    channels = np.stack([sums, multipliers]).astype(np.int64)
    return whole.reshape(weights.shape).astype(np.int64), Scaling(channels, shift, result.low, result.high)


def _reach(weights: Float64, bias: Float64, source: Range) -> Float64:
    """(rows,) the largest that a row's sum can be either way, in any unit of the weights."""
    up, down = np.maximum(weights, 0).sum(1), np.maximum(-weights, 0).sum(1)
    most = np.maximum(up * source.high - down * source.low, down * source.high - up * source.low)
    found: Float64 = most + np.abs(bias)
    return found


def out_shape(layer: Layer, shape: Shape) -> Shape:
    """What a layer makes of `shape`."""
    rows = len(layer.weights)
    if layer.kind == "dense":
        return (rows,)
    h, w, _ = shape
    if layer.kind == "doubling":
        return 2 * h, 2 * w, rows // 4
    return (*((n + 2 * _PAD - _KERNEL) // _STRIDE + 1 for n in (h, w)), rows)


def run(layers: Sequence[Layer16], x: Int64) -> Int64:
    """The last layer's result."""
    for layer in layers:
        x = layer.run(x)
    return x


def emit(builder: Builder, layers: Sequence[Layer16], source: Buffer) -> Buffer:
    """Append layers, one after the other."""
    for layer in layers:
        source = layer.emit(builder, source)
    return source
