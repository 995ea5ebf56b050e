"""Which nodes of an INT8 network are the layers that shall be kept, and what they weigh in float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.names import shown
from edge_ad.compile.integer.graph import Graph, Node
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.compile.layers import Layer
from edge_ad.compile.litert_layers import with_weights
from edge_ad.errors import TargetError

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class KeptLayer:
    """A layer to keep. weights: (rows, k_h, k_w, depth) of a convolution, (rows, depth) of a product; bias (rows,)."""

    name: str
    weights: Float64
    bias: Float64


Layers = Mapping[int, KeptLayer]  # by the number of the node of the INT8 file


def keepable(content: bytes, layers: Sequence[Layer], network: str, target: str) -> list[Layer]:
    """Those of a network's layers that boards have in 16 bits. content: its float .tflite file.

    Raises TargetError where the file's layers cannot be told apart.
    """
    graph = parse_tflite(content, where="the network's float form", floats=True)
    return [layer for layer, node in _found(graph, layers, network, target) if why_not(graph, node) is None]


def kept_layers(
    content: bytes, quantized: Graph, layers: Sequence[Layer], kept: Sequence[Layer], network: str, target: str
) -> dict[int, KeptLayer]:  # fmt: skip
    """The layers `kept`, by the numbers of their nodes in the INT8 graph. content: the float .tflite file of it.

    Raises TargetError for a layer that boards have no 16-bit form of, with its name and the reason.
    """
    if not kept:
        return {}
    graph = parse_tflite(content, where="the network's float form", floats=True)
    found = {layer.name: node for layer, node in _found(graph, layers, network, target)}
    numbers = [node.index for _, node in _found(quantized, layers, network, target)]
    places = dict(zip(found, numbers, strict=True))
    made = {}
    for layer in kept:
        node = found.get(layer.name)
        reason = "a sum of two tensors has INT8 kernels only" if node is None else why_not(graph, node)
        if node is None or reason is not None:
            raise TargetError(
                f"cannot keep the layer {shown(layer.name)} in 16 bits: {reason}", where=target,
                hint="name convolutions without groups and fully connected layers, or --keep auto",
            )  # fmt: skip
        made[places[layer.name]] = _layer(graph, node, layer.name)
    return made


def _found(graph: Graph, layers: Sequence[Layer], network: str, target: str) -> list[tuple[Layer, Node]]:
    """Layers with weights, and their nodes."""
    kinds = [node.kind for node in graph.nodes]
    return [(layer, graph.nodes[at]) for layer, at in with_weights(kinds, layers, network, target)]


def why_not(graph: Graph, node: Node) -> str | None:
    """Why no board has a layer in 16 bits, None if boards do."""
    if node.kind not in ("CONV_2D", "FULLY_CONNECTED"):
        return f"{node.kind} has an INT8 kernel only"
    source, weights = (graph.tensors[index] for index in node.inputs[:2])
    if weights.data is None:
        return "its weights are computed"
    if node.kind == "FULLY_CONNECTED":
        return None
    options = node.options
    if weights.shape[3] != source.shape[-1]:
        return "it has groups, of which there is an INT8 kernel only"
    if max(options.get("dilationHFactor", 1), options.get("dilationWFactor", 1)) > 1:
        return "it is dilated, of which there is an INT8 kernel only"
    if options["strideH"] != options["strideW"]:
        return "its strides differ, of which there is an INT8 kernel only"
    return None


def _layer(graph: Graph, node: Node, name: str) -> KeptLayer:
    weights = graph.tensors[node.inputs[1]].data
    assert weights is not None
    bias = graph.tensors[node.inputs[2]].data if len(node.inputs) > 2 and node.inputs[2] >= 0 else None
    values = np.zeros(len(weights)) if bias is None else bias.astype(np.float64).ravel()
    return KeptLayer(name, weights.astype(np.float64), values)
