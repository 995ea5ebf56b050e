"""Which rows of which tensor each stripe makes and holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.graph import Graph, Node
from edge_ad.compile.integer.striping.rows import Reach, Rows, RowWise

_NEVER = -(1 << 40)  # the row of what nobody asks for


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
    for index in sorted(made):
        done = np.concatenate([[0], need[index][:-1]])
        held[index] = Held(done, need[index], done)
    for index in made - outside:
        held[index] = _with_start(index, held, nodes)
    return Layout(tuple(nodes), held, outside & made, stripes)


def _needs(
    graph: Graph, nodes: Sequence[tuple[Node, RowWise]], outside: frozenset[int], stripes: int
) -> dict[int, Rows]:
    """(stripes,) of each tensor: before which row it is made when a stripe has ended.

    What is read outside advances evenly, everything else as that asks for it. So that the first row of a deep layer
    does not ask for all rows that its windows reach over at once, it all begins early: before their first row, tensors
    are at rows below 0, and ask for others' rows as if they had such. A pipeline is filled, then runs evenly.
    """
    most = _totals(graph, nodes, outside)
    before = _asked(graph, nodes, outside, most, np.array([-1.0, 0.0]))
    early = max(
        (rows[1] / max(1, rows[1] - rows[0]) for index, rows in before.items() if most[index]), default=0
    )
    at = 1 - (1 + max(early, 0)) * (1 - np.arange(1, stripes + 1) / stripes)
    asked = _asked(graph, nodes, outside, most, at)
    return {index: np.clip(rows, 0, most[index]) for index, rows in asked.items()}


def _asked(
    graph: Graph, nodes: Sequence[tuple[Node, RowWise]], outside: frozenset[int], most: dict[int, int],
    at: npt.NDArray[np.float64],
) -> dict[int, Rows]:  # fmt: skip
    """Before which row each tensor has to be when what is read outside is at these shares of its rows; may be below
    0."""
    need = {node.outputs[0]: np.full(len(at), _NEVER) for node, _ in nodes}
    for node, rule in reversed(nodes):
        output = node.outputs[0]
        if output in outside:
            rows = np.ceil(graph.tensors[output].shape[1] * at).astype(np.int64)
            need[output] = np.maximum(need[output], rows)
        need[output] = np.minimum(need[output], most[output])
        for position, reach in rule.reads.items():
            source = node.inputs[position]
            if source in need and most[output]:
                need[source] = np.maximum(need[source], _end_of(reach, need[output]))
    return need


def _end_of(reach: Reach, rows: Rows) -> Rows:
    """Before which row of the input `rows` rows of the output need it; below 1, as evenly as rows follow each other."""
    first, last = int(reach.end[0]), int(reach.end[-1])
    slope = (last - first) / (len(reach.end) - 1) if len(reach.end) > 1 else last
    before = first - np.floor(slope * (1 - rows)).astype(np.int64)
    return np.where(rows > 0, reach.end[np.maximum(rows, 1) - 1], before)


def _totals(graph: Graph, nodes: Sequence[tuple[Node, RowWise]], outside: frozenset[int]) -> dict[int, int]:
    """How many rows of each tensor are made in all: every row of what is read outside, of others what these need."""
    most = {node.outputs[0]: 0 for node, _ in nodes}
    for node, rule in reversed(nodes):
        output = node.outputs[0]
        if output in outside:
            most[output] = graph.tensors[output].shape[1]
        for position, reach in rule.reads.items():
            source = node.inputs[position]
            if source in most and most[output]:
                most[source] = max(most[source], int(reach.end[most[output] - 1]))
    return most


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
