"""Changes to a graph that change no bit of what it gives, and make it cheaper for a board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge_ad.compile.integer.graph import Graph, Node, Tensor
from edge_ad.compile.integer.operators.convolution import PADS, VALID

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def fold_padding(graph: Graph) -> Graph:
    """Without the PADs that only convolutions read: a tap outside the input counts as the zero point anyway.

    Converters put a PAD before each convolution whose padding is not one of TensorFlow's two kinds.
    """
    folded: dict[
        int, tuple[int, tuple[int, int]]
    ] = {}  # padded tensor: what it was padded from, rows and columns
    nodes: list[Node] = []
    for node in graph.nodes:
        pads = _foldable(graph, node)
        if pads is not None:
            folded[node.outputs[0]] = node.inputs[0], pads
            continue
        if node.kind in _CONVOLUTIONS and node.inputs[0] in folded:
            source, pads = folded[node.inputs[0]]
            node = replace(node, inputs=(source, *node.inputs[1:]), options=node.options | {PADS: pads})
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _foldable(graph: Graph, node: Node) -> tuple[int, int] | None:
    """Rows and columns that a PAD puts before the first, if convolutions can do all that it does."""
    if node.outputs[0] in graph.outputs:
        return None
    for reader in graph.nodes:
        if node.outputs[0] in reader.inputs and not _pads_itself(reader, node.outputs[0]):
            return None
    return pads_of(graph.tensors, node)


def pads_of(tensors: Sequence[Tensor], node: Node) -> tuple[int, int] | None:
    """Rows and columns that a PAD of rows and columns with the zero point puts before the first; None for others."""
    if node.kind not in ("PAD", "PADV2"):
        return None
    source, padded, margins = (tensors[i] for i in (node.inputs[0], node.outputs[0], node.inputs[1]))
    if len(source.shape) != 4 or source.data is not None or margins.data is None or margins.data.size != 8:
        return None
    before, after = margins.data.reshape(4, 2).T.tolist()
    if any((*before[::3], *after[::3])) or min(*before, *after) < 0:
        return None
    if (source.scale, source.zero_point) != (padded.scale, padded.zero_point):
        return None
    if padded.shape != tuple(np.add(source.shape, np.add(before, after)).tolist()):
        return None
    if len(node.inputs) > 2:
        value = tensors[node.inputs[2]].data
        if value is None or int(value.flat[0]) != source.zero_point:
            return None
    return before[1], before[2]


def _pads_itself(node: Node, padded: int) -> bool:
    return (
        node.kind in _CONVOLUTIONS
        and node.inputs.count(padded) == 1
        and node.inputs[0] == padded
        and node.options.get("padding") == VALID
        and PADS not in node.options
    )
