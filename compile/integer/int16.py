"""int16 straight out of a convolution's accumulator: nodes that give it, and their definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.draft import Draft
from edge_ad.compile.integer.graph import Array, Graph, Node, Tensor
from edge_ad.compile.integer.operators.convolution import LIMITS, PADS, padding
from edge_ad.compile.integer.operators.weights import effective_scales
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.runtime.integer.convolution import LIMIT, convolution_int16


def accumulator_step(graph: Graph, node: Node) -> float:
    """The coarsest step of a convolution's accumulator over its channels, in units of its output."""
    source, weights = (graph.tensors[index] for index in node.inputs[:2])
    return float(source.scale * max(weights.scales))


def gives_int16(draft: Draft, node: Node, scale: float, limits: tuple[int, int] = (-LIMIT, LIMIT)) -> int:
    """Let a convolution of the draft give int16 in steps of `scale`; the new output."""
    shape = draft.tensors[node.outputs[0]].shape
    output = draft.tensor(shape, np.int16, scale, 0, "int16")
    options = {**node.options, LIMITS: limits, "fusedActivationFunction": 0}
    draft.nodes[draft.nodes.index(node)] = replace(node, outputs=(output,), options=options)
    return output


def int16_of(
    graph: Graph, node: Node, scale: float, features: Array,
    limits: tuple[int, int] = (-LIMIT, LIMIT),
) -> npt.NDArray[np.int16]:  # fmt: skip
    """What `gives_int16` makes of a convolution's input (1, h, w, in_c), by its definition: (out_h, out_w, out_c)."""
    source, weights = (graph.tensors[index] for index in node.inputs[:2])
    out_c, k_h, k_w, _ = weights.shape
    given = node.inputs[2] if len(node.inputs) > 2 else -1
    bias = graph.tensors[given].data if given >= 0 else np.zeros(out_c)
    assert weights.data is not None and bias is not None
    output = replace(graph.tensors[node.outputs[0]], scales=(scale,), zero_points=(0,))
    ratios = effective_scales(source, weights, output, out_c)
    multiplier, shift = np.array([quantize_multiplier(float(ratio)) for ratio in ratios]).T
    strides = node.options["strideH"], node.options["strideW"]
    return convolution_int16(
        features[0].astype(np.int8), weights.data.astype(np.int8), bias.astype(np.int64).ravel(), multiplier, shift,
        input_zero=source.zero_point, stride=strides, pads=pads_around(node, source, output, (k_h, k_w), strides),
        limits=limits,
    )  # fmt: skip


def pads_around(
    node: Node, source: Tensor, output: Tensor, taps: tuple[int, int], strides: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Rows above and below, columns left and right."""
    pads = []
    for axis in (0, 1):
        size, count = source.shape[1 + axis], output.shape[1 + axis]
        before = padding(node.options["padding"], size, taps[axis], strides[axis], 1)[1]
        before = node.options.get(PADS, (before, before))[axis]
        pads += [before, max(0, (count - 1) * strides[axis] + taps[axis] - size - before)]
    return pads[0], pads[1], pads[2], pads[3]
