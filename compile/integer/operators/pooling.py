"""AVERAGE_POOL_2D and MAX_POOL_2D."""

from __future__ import annotations

import numpy as np

from edge_ad.compile.integer.graph import Node
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.operators.convolution import PADS, SAME
from edge_ad.compile.integer.operators.operands import operands
from edge_ad.compile.integer.records.pooling import Pool
from edge_ad.compile.integer.records.wider import Pool16
from edge_ad.compile.integer.requantize import activation_range


def pool(builder: Builder, node: Node) -> None:
    """Windows reach over the border with SAME; what lies outside does not count. INT8, or int16."""
    source, output = (builder.tensor(index) for index in (node.inputs[0], node.outputs[0]))
    wide = source.dtype == output.dtype == np.int16
    if not wide:
        source, output = operands(builder, node, 1)
    o = node.options
    (_, in_h, in_w, channels), (batch, out_h, out_w, _) = source.shape, output.shape
    if (source.scale, source.zero_point) != (output.scale, output.zero_point):
        raise builder.refuse(node, "input and output have different scales", "quantize them alike")
    kernel, stride = (o["filterHeight"], o["filterWidth"]), (o["strideH"], o["strideW"])
    top, left = (
        max(0, (n_out - 1) * s + k - n_in) // 2 if o["padding"] == SAME else 0
        for n_in, n_out, k, s in zip((in_h, in_w), (out_h, out_w), kernel, stride, strict=True)
    )
    top, left = o.get(PADS, (top, left))
    low, high = activation_range(o["fusedActivationFunction"], output.scale, output.zero_point)
    if wide:
        if o["fusedActivationFunction"]:
            raise builder.refuse(node, "pools int16 with a fused activation")
        low, high = -(1 << 15), (1 << 15) - 1
    read, written = builder.ref(source.index), builder.ref(output.index)
    record = (Pool16 if wide else Pool)(
        input=read, output=written, maximum=int(node.kind == "MAX_POOL_2D"), batch=batch, in_h=in_h, in_w=in_w,
        channels=channels, out_h=out_h, out_w=out_w, k_h=kernel[0], k_w=kernel[1], stride_h=stride[0],
        stride_w=stride[1], pad_top=top, pad_left=left, low=low, high=high,
    )  # fmt: skip
    builder.emit(node, record, reads=[read], writes=[written])


OPERATORS["AVERAGE_POOL_2D"] = pool
OPERATORS["MAX_POOL_2D"] = pool
