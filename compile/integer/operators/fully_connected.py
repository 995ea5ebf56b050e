"""FULLY_CONNECTED."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.graph import Node, Tensor
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.records import FullyConnected
from edge_ad.compile.integer.requantize import activation_range, quantize_multiplier


def fully_connected(builder: Builder, node: Node) -> None:
    """(…, depth) times (units, depth)."""
    source, weights = builder.tensor(node.inputs[0]), builder.tensor(node.inputs[1])
    output = builder.tensor(node.outputs[0])
    if weights.data is None or weights.dtype != np.int8:
        raise builder.refuse(node, "the weights are no INT8 constant", "quantize the weights to INT8")
    units, depth = weights.shape
    bias = builder.tensor(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] >= 0 else None
    batch = source.size // depth
    low, high = activation_range(node.options["fusedActivationFunction"], output.scale, output.zero_point)
    reads, writes = builder.ref(node.inputs[0]), builder.ref(node.outputs[0])
    record = FullyConnected(
        input=reads,
        output=writes,
        weights=builder.constant(weights.data),
        channels=builder.constant(
            channel_constants(source, weights, output, bias, weights.data.astype(np.int64).sum(1))
        ),
        batch=batch,
        depth=depth,
        units=units,
        output_zero=output.zero_point,
        low=low,
        high=high,
    )
    builder.emit(node, record, reads=[reads], writes=[writes], macs=batch * depth * units)


def channel_constants(
    source: Tensor, weights: Tensor, output: Tensor, bias: Tensor | None, sums: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """(3, channels) int32: bias with the input's zero point folded in, multipliers, shifts.

    sums: of each output channel's weights. Folding wraps at 32 bits just as the accumulation would.
    """
    given = np.zeros(len(sums), np.int64) if bias is None or bias.data is None else bias.data.astype(np.int64)
    folded = (given - source.zero_point * sums).astype(np.int32)
    scales = weights.scales if len(weights.scales) == len(sums) else weights.scales * len(sums)
    pairs = [quantize_multiplier(source.scale * s / output.scale) for s in scales]
    return np.stack([folded, *np.array(pairs, np.int32).reshape(len(sums), 2).T])


OPERATORS["FULLY_CONNECTED"] = fully_connected
