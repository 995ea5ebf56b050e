"""Which rows of which tensor each stripe makes and holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_ad.compile.integer.graph import Graph, Node
from edge_ad.compile.integer.striping.rows import Rows, RowWise


@dataclass(frozen=True)
class Region:
    """Nodes first to before end of a graph, made in `stripes` stripes."""

    first: int
    end: int
    stripes: int


@dataclass(frozen=True)
class Held:
    """The rows of a tensor, by stripe: in each, its node makes those from done to before need, and the tensor's memory
    then has those from start on. kept: whether what one stripe made is read by a later one, so that start < done."""

    done: Rows
    need: Rows
    start: Rows

    @property
    def kept(self) -> bool:
        return bool((self.start < self.done).any())

    @property
    def most(self) -> int:
        """Rows of memory."""
        return int((self.need - self.start).max())


@dataclass(frozen=True)
class Layout:
    """held: of each tensor that a region makes. outside: those of them that others read, which are whole."""

    nodes: tuple[tuple[Node, RowWise], ...]
    held: dict[int, Held]
    outside: frozenset[int]
    stripes: int


def lay_out(
    graph: Graph, nodes: Sequence[tuple[Node, RowWise]], outside: frozenset[int], stripes: int
) -> Layout | None:
    """The rows of a region. outside: tensors that nodes behind it or the graph's outputs read.

    None where a node needs a tensor of the region whole.
    """
    made = {node.outputs[0] for node, _ in nodes}
    for node, rule in nodes:
        whole = {index for position, index in enumerate(node.inputs) if position not in rule.reads}
        if whole & made:
            return None
    need = _needs(graph, nodes, outside, stripes)
    held = {}
    for index in made:
        done = np.concatenate([[0], need[index][:-1]])
        held[index] = Held(done, need[index], done)
    for index in made - outside:
        held[index] = _with_start(index, held, nodes)
    return Layout(tuple(nodes), held, outside & made, stripes)


def _needs(
    graph: Graph, nodes: Sequence[tuple[Node, RowWise]], outside: frozenset[int], stripes: int
) -> dict[int, Rows]:
    """(stripes,) of each tensor: before which row it is made when a stripe has ended.

    What is read outside advances evenly, everything else by what that asks for.
    """
    need = {node.outputs[0]: np.zeros(stripes, np.int64) for node, _ in nodes}
    share = np.arange(1, stripes + 1)
    for node, rule in reversed(nodes):
        output = node.outputs[0]
        if output in outside:
            rows = graph.tensors[output].shape[1]
            need[output] = np.maximum(need[output], -(-rows * share // stripes))
        for position, reach in rule.reads.items():
            source = node.inputs[position]
            if source in need:
                asked = np.where(need[output] > 0, reach.end[need[output] - 1], 0)
                need[source] = np.maximum(need[source], asked)
    return need


def _with_start(index: int, held: dict[int, Held], nodes: Sequence[tuple[Node, RowWise]]) -> Held:
    """Where the rows that a tensor's memory holds begin: with the first that a reader needs in this stripe or later.

    They are moved only when more are made.
    """
    own = held[index]
    wanted = own.need.copy()
    for node, rule in nodes:
        for position, reach in rule.reads.items():
            if node.inputs[position] == index:
                reader = held[node.outputs[0]]
                left = reader.done < reader.need[-1]
                next_row = np.minimum(reader.done, len(reach.first) - 1)
                wanted = np.where(left, np.minimum(wanted, reach.first[next_row]), wanted)
    if (wanted >= own.done).all():
        return own
    start = np.minimum(wanted, own.done)
    for stripe in range(1, len(start)):
        if own.need[stripe] == own.done[stripe]:
            start[stripe] = start[stripe - 1]
    return Held(own.done, own.need, start)
