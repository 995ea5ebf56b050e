"""CONV_2D and DEPTHWISE_CONV_2D.

LiteRT's reference rounds twice, at the product with the multiplier and again at the shift. The effective scale is
input scale * weight scale / output scale in float64, also where the weights have one scale.
"""

from __future__ import annotations

from dataclasses import asdict
from math import prod

import numpy as np

from edge_ad.compile.integer.graph import Node, Tensor
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.operators.packing import pack, scratch_bytes
from edge_ad.compile.integer.operators.weights import (
    Int8Array,
    activation,
    channel_constants,
    check_extents,
    constant_bias,
    constant_weights,
    effective_scales,
    fold_zero_point,
    fused_range,
)
from edge_ad.compile.integer.records import Convolution, Depthwise, Geometry
from edge_ad.compile.integer.records.maps import ConvolutionInt16

SAME, VALID = 0, 1
# Options of our own. LIMITS: lowest and highest value of an int16 output.
LIMITS = "limits"
PADS = "pads"  # option of our own: rows and columns before the first; then the output's shape says how many follow
LONGEST_WALK = 1 << 30  # as the engine's edge_walk_ok


def convolution(builder: Builder, node: Node) -> None:
    """(batch, h, w, in_c) with weights (out_c, k_h, k_w, in_c / groups)."""
    weights, values = constant_weights(builder, node, 1, rank=4, axis=0)
    source, output = activations(builder, node, node.inputs[0])
    out_c, k_h, k_w, depth = weights.shape
    groups, rest = divmod(source.shape[3], depth)
    if rest or out_c % groups:
        raise builder.refuse(
            node,
            f"weights of shape {weights.shape} do not divide {source.shape[3]} input channels into groups",
        )
    geometry = _geometry(builder, node, source, output, (k_h, k_w, out_c), groups)
    _emit(builder, node, geometry, weights, values)


def depthwise(builder: Builder, node: Node) -> None:
    """(batch, h, w, in_c) with weights (1, k_h, k_w, out_c), where out_c is a multiple of in_c."""
    weights, values = constant_weights(builder, node, 1, rank=4, axis=3)
    source, output = activations(builder, node, node.inputs[0])
    one, k_h, k_w, out_c = weights.shape
    in_c = source.shape[3]
    if one != 1 or out_c % in_c:
        raise builder.refuse(
            node, f"weights of shape {weights.shape} are not of shape (1, h, w, a multiple of {in_c})"
        )
    geometry = _geometry(builder, node, source, output, (k_h, k_w, out_c), in_c)
    _emit(builder, node, geometry, weights, np.transpose(values, (3, 1, 2, 0)))


def activations(builder: Builder, node: Node, index: int) -> tuple[Tensor, Tensor]:
    """Tensor `index`, INT8, and the output, INT8 or int16, both of four dimensions. Raises TargetError for others."""
    source, output = activation(builder, node, index), builder.tensor(node.outputs[0])
    if output.dtype != np.int16:
        activation(builder, node, output.index)
    for tensor in (source, output):
        if len(tensor.shape) != 4:
            raise builder.refuse(node, f"'{tensor.name}' of shape {tensor.shape} has not four dimensions")
    if not {"padding", "strideH", "strideW"} <= node.options.keys():
        raise builder.refuse(node, "has no options", "convert the network again")
    return source, output


def padding(kind: int, size: int, taps: int, stride: int, dilation: int) -> tuple[int, int]:
    """(output positions, padding before the first) along one axis, of LiteRT's SAME or VALID."""
    reach = (taps - 1) * dilation + 1
    count = -(-size // stride) if kind == SAME else (size - reach) // stride + 1
    return count, max(0, (count - 1) * stride + reach - size) // 2


def _geometry(
    builder: Builder, node: Node, source: Tensor, output: Tensor, kernel: tuple[int, int, int], groups: int
) -> Geometry:
    """Raises TargetError where the output's shape in the file is not the one that the options give."""
    options = node.options
    strides = options["strideH"], options["strideW"]
    dilations = options.get("dilationHFactor", 1), options.get("dilationWFactor", 1)
    if options["padding"] not in (SAME, VALID) or min(*strides, *dilations) < 1:
        raise builder.refuse(node, "strides, dilations or padding cannot be", "convert the network again")
    batch, in_h, in_w, in_c = source.shape
    k_h, k_w, out_c = kernel
    out_h, top = padding(options["padding"], in_h, k_h, strides[0], dilations[0])
    out_w, left = padding(options["padding"], in_w, k_w, strides[1], dilations[1])
    if PADS in options:
        (out_h, out_w), (top, left) = output.shape[1:3], options[PADS]
    if output.shape != (batch, out_h, out_w, out_c):
        raise builder.refuse(
            node,
            f"the output is {(batch, out_h, out_w, out_c)} by its options, and {output.shape} by the file",
            "convert the network again, with a fixed input shape",
        )
    check_extents(
        builder, node, input=source.shape, output=output.shape, weights=(out_c, k_h, k_w, in_c // groups)
    )
    walks = zip((out_h, out_w), strides, (k_h, k_w), dilations, (top, left), strict=True)
    if any(
        (n - 1) * stride + (taps - 1) * dilation > LONGEST_WALK or max(stride, dilation, pad) > 1 << 24
        for n, stride, taps, dilation, pad in walks
    ):
        raise builder.refuse(node, f"strides {strides} or dilations {dilations} are too large for a board")
    return Geometry(
        batch, in_h, in_w, in_c, out_h, out_w, out_c, k_h, k_w, *strides, *dilations, top, left, groups
    )  # fmt: skip


def _emit(builder: Builder, node: Node, geometry: Geometry, weights: Tensor, values: Int8Array) -> None:
    """The record that suits the geometry best: a group of one channel is depthwise, one channel in all is not.

    values: (out_c, k_h, k_w, in_c / groups).
    """
    source, output = builder.tensor(node.inputs[0]), builder.tensor(node.outputs[0])
    kind: type[Convolution | Depthwise | ConvolutionInt16] = Convolution
    if geometry.groups == geometry.in_c > 1:
        kind = Depthwise
    if output.dtype == np.int16:
        if kind is Depthwise:
            raise builder.refuse(node, "gives int16, which a depthwise convolution does not")
        kind = ConvolutionInt16
    bias = constant_bias(builder, node, 2, geometry.out_c)
    bias = fold_zero_point(bias, values.astype(np.int64), source.zero_point)
    macs = prod(output.shape) * prod(values.shape[1:])
    if kind is Depthwise:
        values = np.transpose(values[..., 0], (1, 2, 0))
    size = scratch_bytes(builder.kernels, kind, geometry)
    scratch = builder.buffer(size) if size else None
    low, high = node.options.get(LIMITS) or fused_range(builder, node, output)
    reads, writes = builder.ref(node.inputs[0]), builder.ref(node.outputs[0])
    scales = effective_scales(source, weights, output, geometry.out_c)
    record = kind(
        **asdict(geometry),
        input=reads,
        output=writes,
        weights=builder.constant(pack(builder.kernels, kind, np.ascontiguousarray(values), geometry.groups)),
        channels=builder.constant(channel_constants(builder, node, bias, scales)),
        scratch=scratch,
        input_zero=source.zero_point,
        output_zero=output.zero_point,
        low=low,
        high=high,
    )
    builder.emit(node, record, reads=[reads, scratch], writes=[writes], macs=macs)


OPERATORS["CONV_2D"] = convolution
OPERATORS["DEPTHWISE_CONV_2D"] = depthwise
