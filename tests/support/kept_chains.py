"""Layers of random INT8 networks kept in 16 bits, with the weights that INT8 has."""

from __future__ import annotations

import numpy as np
from image_chains import Chain

from edge_ad.compile.integer.graph import Graph, Node
from edge_ad.compile.integer.kept import KeptLayer, rewritten
from edge_ad.compile.integer.kept.layers import why_not
from edge_ad.compile.integer.read import parse_tflite


def candidates(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if "CONV" in node.kind and why_not(graph, node) is None]


def layer_of(graph: Graph, node: Node) -> KeptLayer:
    """What an INT8 layer computes, in float."""
    source, weights, bias = (graph.tensors[index] for index in node.inputs)
    scales = np.array(weights.scales).reshape(-1, *[1] * (len(weights.shape) - 1))
    return KeptLayer(f"layer{node.index}", weights.data * scales, bias.data * source.scale * scales.ravel())


def kept(graph: Graph, nodes: list[Node]) -> Graph:
    return rewritten(graph, {node.index: layer_of(graph, node) for node in nodes}, "test").graph


def kept_chain(seed: int) -> tuple[bytes, Graph] | None:
    """A random network's INT8 file, and its graph with some of the layers kept; None where none is chosen."""
    rng = np.random.default_rng(seed)
    content = Chain(seed).grow(10)
    graph = parse_tflite(content)
    nodes = [node for node in candidates(graph) if rng.random() < 0.6]
    return (content, kept(graph, nodes)) if nodes else None
