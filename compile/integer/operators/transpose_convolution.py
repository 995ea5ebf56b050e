"""TRANSPOSE_CONV.

LiteRT's reference adds up all that reaches an output and then rounds as for CONV_2D.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from edge_ad.compile.integer.graph import Node
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.operators.convolution import SAME, VALID, activations, padding
from edge_ad.compile.integer.operators.packing import pack, scratch_bytes
from edge_ad.compile.integer.operators.weights import (
    LARGEST_EXTENT,
    channel_constants,
    check_extents,
    constant_bias,
    constant_weights,
    effective_scales,
    fused_range,
)
from edge_ad.compile.integer.records import Geometry, TransposeConvolution


def transpose_convolution(builder: Builder, node: Node) -> None:
    """(batch, h, w, in_c) with weights (out_c, k_h, k_w, in_c) to a shape that is given as a constant."""
    weights, values = constant_weights(builder, node, 1, rank=4, axis=0)
    geometry = _geometry(builder, node, weights.shape)
    source, output = builder.tensor(node.inputs[2]), builder.tensor(node.outputs[0])
    size = scratch_bytes(builder.kernels, TransposeConvolution, geometry)
    scratch = builder.buffer(size) if size else None
    low, high = fused_range(builder, node, output)
    reads, writes = builder.ref(node.inputs[2]), builder.ref(node.outputs[0])
    bias = constant_bias(builder, node, 3, geometry.out_c)
    scales = effective_scales(source, weights, output, geometry.out_c)
    record = TransposeConvolution(
        **asdict(geometry),
        input=reads,
        output=writes,
        weights=builder.constant(pack(builder.kernels, TransposeConvolution, values)),
        channels=builder.constant(channel_constants(builder, node, bias, scales)),
        scratch=scratch,
        input_zero=source.zero_point,
        output_zero=output.zero_point,
        low=low,
        high=high,
    )
    macs = source.size * values.size // geometry.in_c
    builder.emit(node, record, reads=[reads, scratch], writes=[writes], macs=macs)


def _geometry(builder: Builder, node: Node, kernel: tuple[int, ...]) -> Geometry:
    """LiteRT pads as the convolution that leads from the output back to the input. Raises TargetError."""
    wanted = builder.tensor(node.inputs[0]) if node.inputs[0] >= 0 else None
    if wanted is None or wanted.data is None:
        raise builder.refuse(node, "its output shape is computed", "fix the network's shapes")
    if len(node.inputs) < 3 or node.inputs[2] < 0:
        raise builder.refuse(node, "has no input")
    source, output = activations(builder, node, node.inputs[2])
    strides = node.options["strideH"], node.options["strideW"]
    if node.options["padding"] not in (SAME, VALID) or min(strides) < 1:
        raise builder.refuse(node, "strides or padding cannot be", "convert the network again")
    batch, in_h, in_w, in_c = source.shape
    out_c, k_h, k_w, depth = kernel
    out_h, out_w = output.shape[1:3]
    if tuple(int(n) for n in np.ravel(wanted.data)) != output.shape or output.shape[::3] != (batch, out_c):
        raise builder.refuse(
            node, f"the output is of shape {output.shape}, but asked for as {wanted.data.tolist()}"
        )
    if depth != in_c:
        raise builder.refuse(node, f"weights of shape {kernel} do not take {in_c} input channels")
    check_extents(builder, node, input=source.shape, output=output.shape, weights=kernel)
    if max(strides) > LARGEST_EXTENT:
        raise builder.refuse(node, f"strides {strides} are too large for a board")
    rows, top = padding(node.options["padding"], out_h, k_h, strides[0], 1)
    columns, left = padding(node.options["padding"], out_w, k_w, strides[1], 1)
    if (rows, columns) != (in_h, in_w):
        raise builder.refuse(
            node, f"an output of {(out_h, out_w)} takes an input of {(rows, columns)}, not {(in_h, in_w)}"
        )
    return Geometry(batch, in_h, in_w, in_c, out_h, out_w, out_c, k_h, k_w, *strides, 1, 1, top, left, 1)


OPERATORS["TRANSPOSE_CONV"] = transpose_convolution
