"""Operators of our own, of detectors of images: what they compute stands in edge_ad/runtime/integer.

A graph has them as nodes of kinds in small letters, over tensors (1, height, width, channels): INT8 and int16 features,
int32 maps of one channel. Images are uint8 (1, channels, height, width).
"""

from __future__ import annotations

import numpy as np

from edge_ad.compile.integer.graph import Array, Node, Tensor
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.operators.convolution import PADS
from edge_ad.compile.integer.operators.resize import resize_tables
from edge_ad.compile.integer.records import Ref
from edge_ad.compile.integer.records.maps import (
    AffineMap,
    BoxMean,
    GradientDissimilarity,
    Halve,
    MapMax,
    Pixels,
    SquaredDifference,
    StretchSum,
    TemplateMask,
)

FIRST = "first"  # option: the first row that a node makes, where it is a part of one


def pixels(builder: Builder, node: Node) -> None:
    """Image (, mask) to features, INT8 or int16. Options: block, and with a mask cell, with int16 shift."""
    image, output = builder.tensor(node.inputs[0]), builder.tensor(node.outputs[0])
    read, written = builder.ref(image.index), builder.ref(output.index)
    mask = builder.ref(node.inputs[1]) if len(node.inputs) > 1 else None
    _, channels, height, width = image.shape
    record = Pixels(
        input=read, output=written, mask=mask, channels=channels, height=height, width=width,
        first=node.options.get(FIRST, 0), rows=output.shape[1], block=node.options["block"],
        cell=node.options.get("cell", 1), wide=int(output.dtype == np.int16), shift=node.options.get("shift", 0),
    )  # fmt: skip
    builder.emit(node, record, reads=[read, mask], writes=[written])


def template_mask(builder: Builder, node: Node) -> None:
    """Image and limits, a constant, to a mask uint8 (height / cell, width / cell)."""
    image = builder.tensor(node.inputs[0])
    read, limits, written = (builder.ref(i) for i in (*node.inputs, node.outputs[0]))
    _, channels, height, width = image.shape
    record = TemplateMask(read, written, limits, channels, height, width, node.options["cell"])
    builder.emit(node, record, reads=[read], writes=[written])


def squared_difference(builder: Builder, node: Node) -> None:
    """One or two of int16 to a map. Option: shift."""
    source = builder.tensor(node.inputs[0])
    channels = source.shape[3]
    operands = [builder.ref(index) for index in node.inputs]
    written = builder.ref(node.outputs[0])
    b = operands[1] if len(operands) > 1 else None
    record = SquaredDifference(
        operands[0], b, written, source.size // channels, channels, node.options["shift"]
    )
    builder.emit(node, record, reads=operands, writes=[written])


def box_mean(builder: Builder, node: Node) -> None:
    """A map to its means over windows. Option: side."""
    source, output = builder.tensor(node.inputs[0]), builder.tensor(node.outputs[0])
    read, written = builder.ref(source.index), builder.ref(output.index)
    side = node.options["side"]
    top, _ = node.options.get(PADS, (side // 2, side // 2))
    record = BoxMean(read, written, source.shape[1], source.shape[2], output.shape[1], side, top)
    builder.emit(node, record, reads=[read], writes=[written])


def affine_map(builder: Builder, node: Node) -> None:
    """A map, mean and gain (and a map that is added) to a map. Options: shift."""
    read, written = builder.ref(node.inputs[0]), builder.ref(node.outputs[0])
    base = builder.ref(node.inputs[3]) if len(node.inputs) > 3 else None
    output = builder.tensor(node.outputs[0])
    constants = [
        _rows(builder.tensor(index), node.options.get(FIRST, 0), output) for index in node.inputs[1:3]
    ]
    mean, gain = (builder.constant(constant) for constant in constants)
    record = AffineMap(
        read, base, written, mean, gain, output.size, int(constants[0].size > 1), node.options["shift"]
    )
    pairs = [(place, written) for place in (read, base) if place is not None]
    builder.emit(node, record, reads=[read, base], writes=[written], in_place=pairs)


def _rows(constant: Tensor, first: int, output: Tensor) -> Array:
    """The rows of a constant (1, height, width, 1) that the output has; one value is for all."""
    assert constant.data is not None
    return constant.data if constant.size == 1 else constant.data[:, first : first + output.shape[1]]


def map_max(builder: Builder, node: Node) -> None:
    """A map to its largest value, int32 (1, 1). Option: offset."""
    read, written = builder.ref(node.inputs[0]), builder.ref(node.outputs[0])
    record = MapMax(read, written, builder.tensor(node.inputs[0]).size, node.options["offset"])
    builder.emit(node, record, reads=[read], writes=[written])


def halve(builder: Builder, node: Node) -> None:
    """int16 features at half the size."""
    source, output = builder.tensor(node.inputs[0]), builder.tensor(node.outputs[0])
    read, written = builder.ref(source.index), builder.ref(output.index)
    builder.emit(
        node,
        Halve(read, written, source.shape[2], source.shape[3], output.shape[1]),
        reads=[read],
        writes=[written],
    )


def gradient_dissimilarity(builder: Builder, node: Node) -> None:
    """Two of int16 to a map. Options: constant, bits."""
    source, output = builder.tensor(node.inputs[0]), builder.tensor(node.outputs[0])
    a, b, written = (builder.ref(index) for index in (*node.inputs, output.index))
    _, in_h, width, channels = source.shape
    top, _ = node.options.get(PADS, (1, 1))
    record = GradientDissimilarity(
        a,
        b,
        written,
        in_h,
        width,
        channels,
        output.shape[1],
        top,
        node.options["constant"],
        node.options["bits"],
    )
    builder.emit(node, record, reads=[a, b], writes=[written])


def stretch_sum(builder: Builder, node: Node) -> None:
    """A map at a larger size (, and one of that size that is added) to a map."""
    source, output = builder.tensor(node.inputs[0]), builder.tensor(node.outputs[0])
    read, written = builder.ref(source.index), builder.ref(output.index)
    base: Ref = builder.ref(node.inputs[1]) if len(node.inputs) > 1 else None
    (_, in_h, in_w, _), (_, out_h, out_w, _) = source.shape, output.shape
    places = builder.constant(resize_tables(node, source, output))
    record = StretchSum(read, base, written, places, in_h, in_w, out_h, out_w)
    builder.emit(node, record, reads=[read, base], writes=[written], in_place=[(base, written)])


for _operator in (pixels, template_mask, squared_difference, box_mean, affine_map, map_max, halve,
                  gradient_dissimilarity, stretch_sum):  # fmt: skip
    OPERATORS[_operator.__name__] = _operator
