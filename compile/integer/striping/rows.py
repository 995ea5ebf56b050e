"""Which rows of its inputs a node needs for which rows of its output: what stripes are cut by.

Tensors are (1, rows, columns, channels). A node that is not here, or not of such shapes, is left whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.graph import Graph, Node, Tensor
from edge_ad.compile.integer.operators.convolution import PADS, padding
from edge_ad.compile.integer.operators.maps import FIRST
from edge_ad.compile.integer.operators.resize import ROWS, row_places

Rows = npt.NDArray[np.int64]
ELEMENTWISE = ("ADD", "SUB", "MUL", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "HARD_SWISH",
               "LOGISTIC", "TANH", "GELU", "ABS", "EXP", "QUANTIZE")  # fmt: skip


@dataclass(frozen=True)
class Reach:
    """Row r of the output needs the input's rows from first[r] to before end[r]; neither ever falls."""

    first: Rows
    end: Rows


@dataclass(frozen=True)
class RowWise:
    """A node that can be made row by row. reads: the reach into each input that is made in rows, by its position;
    the others are whole. options: the node's further ones, for the part that makes rows from `first` on."""

    reads: Mapping[int, Reach]
    options: Callable[[int], dict[str, Any]] = field(default=lambda first: {})


RowMap = Callable[[Graph, Node], RowWise | None]
ROW_MAPS: dict[str, RowMap] = {}


def row_wise(graph: Graph, node: Node) -> RowWise | None:
    """How a node goes row by row; None where it does not."""
    if node.kind not in ROW_MAPS or len(node.outputs) != 1:
        return None
    output = graph.tensors[node.outputs[0]]
    if not in_rows(output):
        return None
    found = ROW_MAPS[node.kind](graph, node)
    if found is None:
        return None
    for position, reach in found.reads.items():
        source = graph.tensors[node.inputs[position]]
        # Each row needs at least one, and of none that is not there: also true of any run of rows, as neither falls.
        sound = (reach.first < reach.end) & (reach.first >= 0) & (reach.end <= source.shape[1])
        rising = (np.diff(reach.first) >= 0).all() and (np.diff(reach.end) >= 0).all()
        if not in_rows(source) or len(reach.first) != output.shape[1] or not sound.all() or not rising:
            return None
    return found


def in_rows(tensor: Tensor) -> bool:
    return len(tensor.shape) == 4 and tensor.shape[0] == 1 and tensor.data is None and tensor.part is None


def same_rows(count: int) -> Reach:
    """Row r needs row r."""
    rows = np.arange(count, dtype=np.int64)
    return Reach(rows, rows + 1)


def windows(in_h: int, out_h: int, taps: int, stride: int, dilation: int, top: int) -> Reach:
    """Of windows of `taps` rows, the first one `top` rows above the input."""
    begin = np.arange(out_h, dtype=np.int64) * stride - top
    return Reach(np.maximum(begin, 0), np.minimum(begin + (taps - 1) * dilation + 1, in_h))


def window_map(
    graph: Graph, node: Node, taps: int, stride: int, dilation: int, pads: tuple[int, int]
) -> RowWise:
    """Of a node with the option PADS; pads: of the whole node."""
    source, output = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    top, left = pads
    reach = windows(source.shape[1], output.shape[1], taps, stride, dilation, top)
    return RowWise({0: reach}, lambda first: {PADS: (int(reach.first[first]) - (first * stride - top), left)})


def _convolution(graph: Graph, node: Node) -> RowWise | None:
    source, weights = graph.tensors[node.inputs[0]], graph.tensors[node.inputs[1]]
    if len(weights.shape) != 4 or not in_rows(source):
        return None
    o = node.options
    strides = o["strideH"], o["strideW"]
    dilations = o.get("dilationHFactor", 1), o.get("dilationWFactor", 1)
    taps = weights.shape[1:3]
    pads = o.get(PADS) or _pads(o["padding"], source, taps, strides, dilations)
    return window_map(graph, node, taps[0], strides[0], dilations[0], pads)


def _convolution16(graph: Graph, node: Node) -> RowWise | None:
    weights = graph.tensors[node.inputs[1]]
    if len(weights.shape) != 4:
        return None
    return window_map(graph, node, weights.shape[1], node.options["stride"], 1, node.options[PADS])


def _pool(graph: Graph, node: Node) -> RowWise | None:
    source = graph.tensors[node.inputs[0]]
    if not in_rows(source):
        return None
    o = node.options
    taps, strides = (o["filterHeight"], o["filterWidth"]), (o["strideH"], o["strideW"])
    pads = o.get(PADS) or _pads(o["padding"], source, taps, strides, (1, 1))
    return window_map(graph, node, taps[0], strides[0], 1, pads)


def _pads(
    kind: int, source: Tensor, taps: tuple[int, ...], strides: tuple[int, int], dilations: tuple[int, int]
) -> tuple[int, int]:
    sizes = zip(source.shape[1:3], taps, strides, dilations, strict=True)
    top, left = (padding(kind, size, k, stride, dilation)[1] for size, k, stride, dilation in sizes)
    return top, left


def _resize(graph: Graph, node: Node) -> RowWise | None:
    source, output = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if not in_rows(source) or ROWS in node.options:
        return None
    in_h, out_h = source.shape[1], output.shape[1]
    found = row_places(node, in_h, out_h).astype(np.int64)
    near = found[:, :2] if found.ndim == 2 else found[:, None]
    reach = Reach(near.min(1), near.max(1) + 1)
    return RowWise({0: reach}, lambda first: {ROWS: (in_h, out_h, int(reach.first[first]), first)})


def elementwise(graph: Graph, node: Node) -> RowWise | None:
    """Operands of as many rows as the output, or of one row that all share."""
    rows = graph.tensors[node.outputs[0]].shape[1]
    reads = {}
    for position, index in enumerate(node.inputs):
        operand = graph.tensors[index]
        shape = (1,) * (4 - len(operand.shape)) + operand.shape
        if in_rows(operand) and shape[1] == rows:
            reads[position] = same_rows(rows)
        elif shape[1] != 1:
            return None
    return RowWise(reads)


def _concatenation(graph: Graph, node: Node) -> RowWise | None:
    if node.options["axis"] % 4 < 2:
        return None
    return elementwise(graph, node)


def _pixels(graph: Graph, node: Node) -> RowWise:
    """The image is whole: its rows are not one stretch of memory."""
    return RowWise({}, lambda first: {FIRST: first})


def _box_mean(graph: Graph, node: Node) -> RowWise:
    side = node.options["side"]
    return window_map(graph, node, side, 1, 1, (side // 2, side // 2))


def _affine_map(graph: Graph, node: Node) -> RowWise:
    rows = same_rows(graph.tensors[node.outputs[0]].shape[1])
    return RowWise(dict.fromkeys((0, 3)[: len(node.inputs) - 2], rows), lambda first: {FIRST: first})


def _halve(graph: Graph, node: Node) -> RowWise:
    source, output = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    return RowWise({0: windows(source.shape[1], output.shape[1], 2, 2, 1, 0)})


def _gradient_dissimilarity(graph: Graph, node: Node) -> RowWise:
    found = window_map(graph, node, 3, 1, 1, (1, 1))
    return RowWise({0: found.reads[0], 1: found.reads[0]}, found.options)


def _stretch_sum(graph: Graph, node: Node) -> RowWise | None:
    found = _resize(graph, node)
    if found is None or len(node.inputs) < 2:
        return found
    return RowWise({**found.reads, 1: same_rows(graph.tensors[node.outputs[0]].shape[1])}, found.options)


ROW_MAPS.update(dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), _convolution))
ROW_MAPS.update(dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), _pool))
ROW_MAPS.update(dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _resize))
ROW_MAPS.update(dict.fromkeys(ELEMENTWISE, elementwise))
ROW_MAPS["CONCATENATION"] = _concatenation
ROW_MAPS.update(dict.fromkeys(("squared_difference", "widen", "narrow"), elementwise))
ROW_MAPS["convolution16"] = _convolution16
ROW_MAPS["pixels"] = _pixels
ROW_MAPS["box_mean"] = _box_mean
ROW_MAPS["affine_map"] = _affine_map
ROW_MAPS["halve"] = _halve
ROW_MAPS["gradient_dissimilarity"] = _gradient_dissimilarity
ROW_MAPS["stretch_sum"] = _stretch_sum
