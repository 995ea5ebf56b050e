"""Runs nodes of our own on this machine's engine: whole, and in stripes."""

from __future__ import annotations

import numpy as np

from edge_ad.compile.integer.draft import Draft
from edge_ad.compile.integer.graph import Graph
from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.striping import Region, striped
from edge_ad.firmware_bridge.host_library import HostModel


def run(graph: Graph, inputs: list[np.ndarray]) -> list[np.ndarray]:
    image = build_image(graph, "plain", stripes=False)
    return HostModel(image.content, inputs=image.inputs, outputs=image.outputs).infer(inputs)


def run_whole_and_striped(graph: Graph, inputs: list[np.ndarray], stripes: int) -> list[np.ndarray]:
    """Outputs of the whole graph, after those of all its nodes in stripes have been found equal."""
    whole = run(graph, inputs)
    cut = run(striped(graph, [Region(0, len(graph.nodes), stripes)]), inputs)
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(a, b)
    return whole


def one_node(
    kind: str, inputs: list[np.ndarray], constants: list[np.ndarray], shape, dtype, **options
) -> Graph:
    """A graph of one node that reads these inputs, then constants."""
    draft = Draft()
    given = [draft.tensor(x.shape, x.dtype) for x in inputs]
    output = draft.tensor(shape, dtype)
    draft.node(kind, [*given, *(draft.constant(c) for c in constants)], output, **options)
    return draft.graph(given, [output])
