"""Operators that only move bytes: CONCATENATION, SPLIT, SLICE, STRIDED_SLICE, PAD, RESHAPE, SQUEEZE, TRANSPOSE."""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from edge_ad.compile.integer.graph import Node, Tensor
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.operators.moves import copy, fill, places, rearrange


def reshape(builder: Builder, node: Node) -> None:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the same bytes. The new shape is the output tensor's own."""
    source, output = builder.tensor(node.inputs[0]), builder.tensor(node.outputs[0])
    if source.size != output.size:
        raise builder.refuse(node, f"{source.shape} does not become {output.shape}")
    rearrange(builder, node, source.index, output.index, places(source.shape))


def transpose(builder: Builder, node: Node) -> None:
    source = builder.tensor(node.inputs[0])
    order = _constant(builder, node, 1).tolist()
    if sorted(p % len(source.shape) for p in order) != list(range(len(source.shape))):
        raise builder.refuse(node, f"{order} is no order of {len(source.shape)} dimensions")
    view = places(source.shape).transpose(order)
    _require_shape(builder, node, view.shape)
    rearrange(builder, node, source.index, node.outputs[0], view)


def concatenation(builder: Builder, node: Node) -> None:
    """Along any axis. LiteRT's INT8 kernel copies; scales that differ are an error there and here."""
    output = builder.tensor(node.outputs[0])
    axis = node.options["axis"] % len(output.shape)
    if node.options.get("fusedActivationFunction", 0):
        raise builder.refuse(
            node, "a fused activation here is not covered", "put it before the concatenation"
        )
    ends = [0, *accumulate(builder.tensor(i).shape[axis] for i in node.inputs)]
    target = places(output.shape)
    for index, begin, end in zip(node.inputs, ends, ends[1:], strict=False):
        source = builder.tensor(index)
        if (source.scale, source.zero_point) != (output.scale, output.zero_point):
            raise builder.refuse(
                node, f"'{source.name}' has another scale than the result",
                "quantize with one scale for what is concatenated",
            )  # fmt: skip
        region = target[(slice(None),) * axis + (slice(begin, end),)]
        if region.shape != source.shape:
            raise builder.refuse(node, f"{source.shape} does not fit into {output.shape} along axis {axis}")
        copy(builder, node, index, output.index, places(source.shape), region)


def split(builder: Builder, node: Node) -> None:
    """SPLIT (axis, value) into equal parts, and SPLIT_V (value, sizes, axis)."""
    even = node.kind == "SPLIT"
    source = builder.tensor(node.inputs[1 if even else 0])
    axis = int(_constant(builder, node, 0 if even else 2).ravel()[0]) % len(source.shape)
    sizes = [builder.tensor(o).shape[axis] for o in node.outputs]
    if sum(sizes) != source.shape[axis]:
        raise builder.refuse(node, f"parts of {sizes} do not make {source.shape} along axis {axis}")
    begin = 0
    for output, size in zip(node.outputs, sizes, strict=True):
        view = places(source.shape)[(slice(None),) * axis + (slice(begin, begin + size),)]
        _require_shape(builder, node, view.shape, output)
        rearrange(builder, node, source.index, output, view)
        begin += size


def slice_(builder: Builder, node: Node) -> None:
    """SLICE: begin and size of each dimension, size -1 to the end."""
    source = builder.tensor(node.inputs[0])
    begin, size = (_constant(builder, node, i).ravel().tolist() for i in (1, 2))
    parts = tuple(slice(b, None if s == -1 else b + s) for b, s in zip(begin, size, strict=True))
    view = places(source.shape)[parts]
    _require_shape(builder, node, view.shape)
    rearrange(builder, node, source.index, node.outputs[0], view)


def strided_slice(builder: Builder, node: Node) -> None:
    """Begin, end and stride of each dimension, with TensorFlow's masks."""
    source = builder.tensor(node.inputs[0])
    begin, end, strides = (_constant(builder, node, i).ravel().tolist() for i in (1, 2, 3))
    o = node.options
    parts: list[object] = []
    for i, (b, e, s) in enumerate(zip(begin, end, strides, strict=True)):
        bit = 1 << i
        if o.get("offset"):
            e += b
        if o.get("ellipsisMask", 0) & bit:
            parts.append(Ellipsis)
        elif o.get("newAxisMask", 0) & bit:
            parts.append(None)
        elif o.get("shrinkAxisMask", 0) & bit:
            parts.append(b)
        else:
            parts.append(
                slice(None if o.get("beginMask", 0) & bit else b, None if o.get("endMask", 0) & bit else e, s)
            )
    try:
        view = places(source.shape)[tuple(parts)]  # type: ignore[arg-type]
    except (IndexError, ValueError) as error:
        raise builder.refuse(node, f"cannot be taken of {source.shape} ({error})") from error
    output = builder.tensor(node.outputs[0])
    if view.size != output.size:
        _require_shape(builder, node, view.shape)
    rearrange(builder, node, source.index, output.index, np.asarray(view))


def pad(builder: Builder, node: Node) -> None:
    """PAD with the zero point, PADV2 with a given value."""
    source, output = builder.tensor(node.inputs[0]), builder.tensor(node.outputs[0])
    margins = _constant(builder, node, 1).reshape(-1, 2).tolist()
    if [a + n + b for (a, b), n in zip(margins, source.shape, strict=True)] != list(output.shape):
        raise builder.refuse(node, f"{source.shape} padded by {margins} is not {output.shape}")
    value = output.zero_point if len(node.inputs) < 3 else int(_constant(builder, node, 2).ravel()[0])
    parts = tuple(slice(a, a + n) for (a, _), n in zip(margins, source.shape, strict=True))
    fill(builder, node, output.index, value)
    copy(builder, node, source.index, output.index, places(source.shape), places(output.shape)[parts])


def _constant(builder: Builder, node: Node, position: int) -> np.ndarray:
    tensor: Tensor = builder.tensor(node.inputs[position])
    if tensor.data is None:
        raise builder.refuse(
            node, f"'{tensor.name}' is computed, not given", "convert the network with static shapes"
        )
    return tensor.data


def _require_shape(builder: Builder, node: Node, shape: tuple[int, ...], output: int | None = None) -> None:
    wanted = builder.tensor(node.outputs[0] if output is None else output).shape
    if shape != wanted:
        raise builder.refuse(node, f"gives {shape}, the file says {wanted}")


for _kind in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"):
    OPERATORS[_kind] = reshape
for _kind in ("SPLIT", "SPLIT_V"):
    OPERATORS[_kind] = split
for _kind in ("PAD", "PADV2"):
    OPERATORS[_kind] = pad
OPERATORS["TRANSPOSE"] = transpose
OPERATORS["CONCATENATION"] = concatenation
OPERATORS["SLICE"] = slice_
OPERATORS["STRIDED_SLICE"] = strided_slice
