"""Operators of our own of layers in 16 bits: tensors int16 without a zero point, value = scale * integer.

What they compute stands in edge_ad/runtime/integer: layers16.py, wider.py, narrow.py. A graph has them as nodes of
kinds in small letters; pooling, moves and RESIZE_NEAREST_NEIGHBOR of int16 keep the kinds of .tflite files.
"""

from __future__ import annotations

from math import prod

import numpy as np

from edge_ad.compile.integer.graph import Node
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.operators.convolution import LIMITS, PADS
from edge_ad.compile.integer.operators.rows16 import pack16, scratch16_bytes
from edge_ad.compile.integer.records.layers16 import Convolution16
from edge_ad.compile.integer.records.spectrum import Narrow
from edge_ad.compile.integer.records.wider import Widen


def convolution16(builder: Builder, node: Node) -> None:
    """Inputs: int16 (1, h, w, c), constants: weights int16 (rows, k_h, k_w, c), bias and multipliers int32 (rows,).

    Of a product the input is (..., depth), weights are (rows, depth). Options: stride, PADS, shift, LIMITS.
    """
    source, weights, bias, multipliers = (builder.tensor(index) for index in node.inputs)
    output = builder.tensor(node.outputs[0])
    assert weights.data is not None and bias.data is not None and multipliers.data is not None
    rows, *window = weights.shape
    flat = weights.data.reshape(rows, -1).astype(np.int16)
    k_h, k_w, in_c = window if len(window) == 3 else (1, 1, window[0])
    in_h, in_w = source.shape[1:3] if len(window) == 3 else (1, source.size // in_c)
    out_h, out_w = output.shape[1:3] if len(window) == 3 else (1, in_w)
    top, left = node.options[PADS]
    low, high = node.options[LIMITS]
    read, written = builder.ref(source.index), builder.ref(output.index)
    scratch = builder.buffer(scratch16_bytes(builder.kernels, flat.shape[1]))
    record = Convolution16(
        input=read, output=written, weights=builder.constant(pack16(builder.kernels, flat)),
        channels=builder.constant(np.stack([bias.data, multipliers.data]).astype(np.int32)), scratch=scratch,
        in_h=in_h, in_w=in_w, in_c=in_c, rows=rows, shift=node.options["shift"], low=low, high=high, out_h=out_h,
        out_w=out_w, k_h=k_h, k_w=k_w, stride=node.options["stride"], pad_top=top, pad_left=left,
    )  # fmt: skip
    macs = prod(output.shape) * flat.shape[1]
    builder.emit(node, record, reads=[read, scratch], writes=[written], macs=macs)


def widen(builder: Builder, node: Node) -> None:
    """INT8 to int16. Options: multiplier, shift."""
    source = builder.tensor(node.inputs[0])
    read, written = builder.ref(source.index), builder.ref(node.outputs[0])
    record = Widen(
        read, written, source.size, node.options["multiplier"], node.options["shift"], source.zero_point
    )
    builder.emit(node, record, reads=[read], writes=[written])


def narrow(builder: Builder, node: Node) -> None:
    """int16 to INT8. Options: multiplier, shift."""
    output = builder.tensor(node.outputs[0])
    read, written = builder.ref(node.inputs[0]), builder.ref(output.index)
    record = Narrow(
        read, written, output.size, node.options["multiplier"], node.options["shift"], output.zero_point
    )
    builder.emit(node, record, reads=[read], writes=[written], in_place=[(read, written)])


for _operator in (convolution16, widen, narrow):
    OPERATORS[_operator.__name__] = _operator
