"""FULLY_CONNECTED.

LiteRT's reference multiplies the sum by the effective scale in float64 and rounds once, halves away from zero; the
effective scale is input scale * weight scale / output scale in float64, also where the weights have one scale. The
multipliers are chosen so that integers give the same results for every sum that can occur (`RoundedProduct`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.graph import Node, Tensor
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.operators.packing import pack
from edge_ad.compile.integer.operators.weights import (
    Int8Array,
    Int32Array,
    activation,
    check_extents,
    constant_bias,
    constant_weights,
    effective_scales,
    fold_zero_point,
    fused_range,
)
from edge_ad.compile.integer.records import FullyConnected, FullyConnectedFine
from edge_ad.compile.integer.requantize import RoundedProduct

LARGEST_RESULT = 1 << 30  # LiteRT's results are undefined beyond 32 bits


def fully_connected(builder: Builder, node: Node) -> None:
    """(…, depth) times (units, depth): to (batch, units), or to (…, units) with keepNumDims."""
    weights, values = constant_weights(builder, node, 1, rank=2, axis=0)
    source, output = activation(builder, node, node.inputs[0]), activation(builder, node, node.outputs[0])
    batch, depth, units = _extents(builder, node, source, weights, output)
    bias = constant_bias(builder, node, 2, units)
    scales = effective_scales(source, weights, output, units)
    multipliers = _multipliers(builder, node, scales, output, _largest_sums(source, values, bias))
    kind = FullyConnected if len(multipliers) == 2 else FullyConnectedFine
    packed = pack(builder.kernels, kind, values) if kind is FullyConnected else values
    channels = np.stack([fold_zero_point(bias, values.astype(np.int64), source.zero_point), *multipliers])
    low, high = fused_range(builder, node, output)
    reads, writes = builder.ref(node.inputs[0]), builder.ref(node.outputs[0])
    record = kind(
        input=reads,
        output=writes,
        weights=builder.constant(packed),
        channels=builder.constant(channels),
        batch=batch,
        depth=depth,
        units=units,
        output_zero=output.zero_point,
        low=low,
        high=high,
    )
    builder.emit(node, record, reads=[reads], writes=[writes], macs=prod((batch, depth, units)))


def _extents(
    builder: Builder, node: Node, source: Tensor, weights: Tensor, output: Tensor
) -> tuple[int, int, int]:
    """(batch, depth, units). Raises TargetError where shapes and options do not agree."""
    if node.options.get("weightsFormat", 0) != 0:
        raise builder.refuse(
            node, "the weights are stored in a shuffled order", "convert with the default format of weights"
        )
    units, depth = weights.shape
    batch, rest = divmod(source.size, depth)
    kept = not node.options.get("keepNumDims") or output.shape == (*source.shape[:-1], units)
    if rest or output.size != batch * units or not kept:
        raise builder.refuse(
            node,
            f"an input of shape {source.shape} and weights of shape {weights.shape} do not give {output.shape}",
        )
    check_extents(builder, node, input=(batch, depth), weights=(units, depth), output=(batch, units))
    return batch, depth, units


def _largest_sums(source: Tensor, weights: Int8Array, bias: Int32Array) -> npt.NDArray[np.int64]:
    """(units,) the largest absolute value that each unit's sum can have."""
    largest = max(127 - source.zero_point, 128 + source.zero_point)
    return np.abs(weights.astype(np.int64)).sum(1) * largest + np.abs(bias.astype(np.int64))


def _multipliers(
    builder: Builder,
    node: Node,
    scales: npt.NDArray[np.float64],
    output: Tensor,
    largest_sums: npt.NDArray[np.int64],
) -> Sequence[Int32Array]:
    """(units,) multipliers, shifts and, where 31 bits are too few, the multipliers' further 31 bits.

    Raises TargetError for sums or results of more bits than LiteRT's own kernel has.
    """
    if not np.all(np.isfinite(scales) & (scales >= 0)):
        raise builder.refuse(node, "a scale of the weights is negative or not finite", "quantize again")
    if largest_sums.max() >= 1 << 31:
        raise builder.refuse(
            node, "its sums do not fit 32 bits", "make the bias smaller, or the input shorter"
        )
    if (largest_sums * scales).max() >= LARGEST_RESULT or scales.max() >= LARGEST_RESULT:
        raise builder.refuse(node, "the output's scale is far too fine for its sums", "quantize again")
    products = [
        RoundedProduct(scale, output.zero_point, int(largest_sums[scales == scale].max())) for scale in scales
    ]
    for bits in (31, 62):
        found = {product: product.multiplier(bits) for product in set(products)}
        pairs = [pair for product in products if (pair := found[product]) is not None]
        if len(pairs) == len(products):
            multipliers, shifts = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
            halves = [multipliers] if bits == 31 else [multipliers >> 31, multipliers & 0x7FFFFFFF]
            high, *low = (half.astype(np.int32) for half in halves)
            return [high, shifts.astype(np.int32), *low]
    raise builder.refuse(node, "no multiplier of 62 bits gives LiteRT's results", "quantize again")


OPERATORS["FULLY_CONNECTED"] = fully_connected
