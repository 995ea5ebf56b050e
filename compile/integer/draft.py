"""A graph that is being written: another's nodes, changed, and nodes of our own around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.graph import NO_NODE, Array, Graph, Node, Tensor


class Draft:
    """nodes: in the order in which they run."""

    def __init__(self, graph: Graph | None = None):
        self.tensors: list[Tensor] = [] if graph is None else list(graph.tensors)
        self.nodes: list[Node] = [] if graph is None else list(graph.nodes)

    def tensor(
        self,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        scale: float = 1.0,
        zero_point: int = 0,
        name: str = "",
    ) -> int:
        """A new activation's index."""
        index = len(self.tensors)
        kind = np.dtype(dtype)
        self.tensors.append(Tensor(index, name, tuple(shape), kind, (float(scale),), (zero_point,)))
        return index

    def constant(self, data: Array) -> int:
        """A constant's index."""
        index = len(self.tensors)
        self.tensors.append(Tensor(index, "", data.shape, data.dtype, data=data))
        return index

    def node(
        self, kind: str, inputs: Sequence[int], output: int, *, at: int | None = None, **options: Any
    ) -> int:
        """Insert a node of our own before node `at`, by default behind all; its output."""
        node = Node(NO_NODE, kind, tuple(inputs), (output,), options)
        self.nodes.insert(len(self.nodes) if at is None else at, node)
        return output

    def read_instead(self, old: int, new: int) -> None:
        """All nodes that read tensor `old` read `new`."""
        self.nodes = [
            replace(node, inputs=tuple(new if i == old else i for i in node.inputs)) for node in self.nodes
        ]

    def graph(self, inputs: Sequence[int], outputs: Sequence[int]) -> Graph:
        return Graph(tuple(self.tensors), tuple(self.nodes), tuple(inputs), tuple(outputs))
