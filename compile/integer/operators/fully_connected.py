"""FULLY_CONNECTED.

LiteRT's reference rounds once, and computes the effective scale of weights with one scale from the product of both
scales in float32, of weights with a scale a unit from float64 products.
"""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.graph import Node, Tensor
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.operators.packing import pack
from edge_ad.compile.integer.operators.weights import (
    activation,
    channel_constants,
    check_extents,
    constant_bias,
    constant_weights,
    effective_scales,
    fold_zero_point,
    fused_range,
)
from edge_ad.compile.integer.records import FullyConnected


def fully_connected(builder: Builder, node: Node) -> None:
    """(…, depth) times (units, depth): to (batch, units), or to (…, units) with keepNumDims."""
    if node.options.get("weightsFormat", 0) != 0:
        raise builder.refuse(
            node, "the weights are stored in a shuffled order", "convert with default weights"
        )
    weights, values = constant_weights(builder, node, 1, rank=2, axis=0)
    source, output = activation(builder, node, node.inputs[0]), activation(builder, node, node.outputs[0])
    units, depth = weights.shape
    batch, rest = divmod(source.size, depth)
    if rest or output.size != batch * units:
        raise builder.refuse(
            node,
            f"an input of shape {source.shape} and weights of shape {weights.shape} do not give {output.shape}",
        )
    if node.options.get("keepNumDims") and output.shape != (*source.shape[:-1], units):
        raise builder.refuse(node, f"does not keep the dimensions of {source.shape} in {output.shape}")
    check_extents(builder, node, input=(batch, depth), weights=(units, depth), output=(batch, units))
    bias = fold_zero_point(constant_bias(builder, node, 2, units), values.astype(np.int64), source.zero_point)
    low, high = fused_range(builder, node, output)
    reads, writes = builder.ref(node.inputs[0]), builder.ref(node.outputs[0])
    record = FullyConnected(
        input=reads,
        output=writes,
        weights=builder.constant(pack(builder.kernels, FullyConnected, values)),
        channels=builder.constant(
            channel_constants(builder, node, bias, _scales(source, weights, output, units))
        ),
        batch=batch,
        depth=depth,
        units=units,
        output_zero=output.zero_point,
        low=low,
        high=high,
    )
    builder.emit(node, record, reads=[reads], writes=[writes], macs=prod((batch, depth, units)))


def _scales(source: Tensor, weights: Tensor, output: Tensor, units: int) -> npt.NDArray[np.float64]:
    """(units,) effective scales; see the module's docstring."""
    if len(weights.scales) > 1:
        return effective_scales(source, weights, output, units)
    product = np.float32(source.scale) * np.float32(weights.scale)
    return np.full(units, np.float64(product) / np.float64(output.scale))


OPERATORS["FULLY_CONNECTED"] = fully_connected
