"""MEAN.

LiteRT's reference kernel divides within the requantization, the same for spatial means and all others: the ratio of
scales as multiplier and shift, the multiplier divided by the number of elements (rounded down, after moving it up as
far as that number allows), then two roundings (see rounding.h).
"""

from __future__ import annotations

import numpy as np

from edge_ad.compile.integer.graph import Node
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.operators.operands import operands, refuse_constant
from edge_ad.compile.integer.records.arithmetic import Mean
from edge_ad.compile.integer.requantize import quantize_multiplier

MAX_ELEMENTS = 1 << 23  # more would leave 32 bits


def mean(builder: Builder, node: Node) -> None:
    """(…) over constant axes; keepDims or not is only the output's shape."""
    source, axes, output = operands(builder, node, 2)
    refuse_constant(builder, node, source)
    if axes.data is None or axes.dtype != np.int32:
        raise builder.refuse(node, "its axes are no INT32 constant", "give the axes as a constant")
    rank = len(source.shape)
    wanted = [int(axis) for axis in axes.data.ravel()]
    if any(not -rank <= axis < rank for axis in wanted):
        raise builder.refuse(node, f"axes {wanted} do not lie in its input's {rank} dimensions")
    reduced = {axis % rank for axis in wanted}
    walks = merged_walks(source.shape, reduced)
    elements = int(np.prod([source.shape[axis] for axis in reduced], dtype=np.int64))
    if elements * output.size != source.size:
        raise builder.refuse(node, f"{source.shape} over axes {sorted(reduced)} does not give {output.shape}")
    if elements > MAX_ELEMENTS or walks is None:
        raise builder.refuse(
            node, f"a mean of {source.shape} over axes {sorted(reduced)} is too large", "split it"
        )
    multiplier, shift = mean_multiplier(source.scale / output.scale, elements)
    kept, over = walks
    reads, writes = builder.ref(source.index), builder.ref(output.index)
    record = Mean(
        input=reads, output=writes, **_fields("kept", kept), **_fields("reduced", over),
        bias=-source.zero_point * elements, multiplier=multiplier, shift=shift, output_zero=output.zero_point,
    )  # fmt: skip
    builder.emit(node, record, reads=[reads], writes=[writes])


Walk = list[tuple[int, int]]  # three (extent, stride in elements), outermost first


def merged_walks(shape: tuple[int, ...], reduced: set[int]) -> tuple[Walk, Walk] | None:
    """How to walk the kept and the reduced dimensions, neighbours of one sort merged; None where over 3 remain."""
    walks: tuple[Walk, Walk] = ([], [])
    stride, last = 1, None
    for axis in reversed(range(len(shape))):
        extent, sort = shape[axis], axis in reduced
        if extent == 1:
            continue
        walk = walks[sort]
        if sort == last:
            walk[0] = walk[0][0] * extent, walk[0][1]
        else:
            walk.insert(0, (extent, stride))
        stride, last = stride * extent, sort
    if max(map(len, walks)) > 3:
        return None
    kept, over = ([(1, 0)] * (3 - len(walk)) + walk for walk in walks)
    return kept, over


def _fields(name: str, walk: Walk) -> dict[str, int]:
    extents = {f"{name}{i}": extent for i, (extent, _) in enumerate(walk)}
    return extents | {f"{name}_stride{i}": stride for i, (_, stride) in enumerate(walk)}


def mean_multiplier(ratio: float, elements: int) -> tuple[int, int]:
    """(multiplier, shift) of ratio / elements, as LiteRT folds the division into the requantization."""
    multiplier, shift = quantize_multiplier(ratio)
    up = min(elements.bit_length() - 1, 31 + shift)
    return (multiplier << up) // elements, shift - up


OPERATORS["MEAN"] = mean
