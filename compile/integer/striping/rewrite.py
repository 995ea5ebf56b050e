"""A graph with regions in stripes, as a graph: parts of nodes over tensors of fewer rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

from edge_ad.compile.integer.graph import Graph, Node, Tensor
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.operators.moves import copy, places
from edge_ad.compile.integer.striping.layout import Layout, Region, lay_out
from edge_ad.compile.integer.striping.rows import row_wise

MOVE = "move"  # kind of our own: the same values at another place


def move(builder: Builder, node: Node) -> None:
    shape = places(builder.tensor(node.inputs[0]).shape)
    copy(builder, node, node.inputs[0], node.outputs[0], shape, shape)


OPERATORS[MOVE] = move


def striped(graph: Graph, regions: Sequence[Region]) -> Graph:
    """`graph` with these regions, which do not overlap, in stripes; the same outputs to the bit.

    Raises ValueError for a region with a node that does not go row by row.
    """
    writer = _Writer(graph)
    at = 0
    for region in sorted(regions, key=lambda r: r.first):
        writer.nodes += graph.nodes[at : region.first]
        writer.write(layout_of(graph, region))
        at = region.end
    writer.nodes += graph.nodes[at:]
    return replace(graph, tensors=tuple(writer.tensors), nodes=tuple(writer.nodes))


def layout_of(graph: Graph, region: Region) -> Layout:
    """Raises ValueError as `striped`."""
    nodes = []
    for node in graph.nodes[region.first : region.end]:
        rule = row_wise(graph, node)
        if rule is None:
            raise ValueError(f"{node} does not go row by row")
        nodes.append((node, rule))
    found = lay_out(graph, nodes, read_outside(graph, region.first, region.end), region.stripes)
    if found is None:
        raise ValueError("a node needs a tensor of its own region whole")
    return found


def read_outside(graph: Graph, first: int, end: int) -> frozenset[int]:
    """Tensors that nodes before `first` or from `end` on read, and the graph's outputs."""
    others = (*graph.nodes[:first], *graph.nodes[end:])
    return frozenset(graph.outputs).union(*(node.inputs for node in others))


class _Writer:
    """Collects the tensors and nodes of the new graph."""

    def __init__(self, graph: Graph):
        self.tensors: list[Tensor] = list(graph.tensors)
        self.nodes: list[Node] = []

    def write(self, layout: Layout) -> None:
        """All stripes of a region."""
        memory = {index: self._memory(layout, index) for index in layout.held}
        current: dict[int, int] = {}  # of a tensor in memory of its own for each stripe: this stripe's
        for stripe in range(layout.stripes):
            for node, rule in layout.nodes:
                output = node.outputs[0]
                held = layout.held[output]
                begin, end = int(held.done[stripe]), int(held.need[stripe])
                if begin == end:
                    continue
                if stripe and held.kept:
                    self.nodes += self._moves(layout, node, memory[output], stripe)
                if memory[output] is None:
                    current[output] = self._new(output, end - begin)
                inputs = list(node.inputs)
                for position, reach in rule.reads.items():
                    rows = int(reach.first[begin]), int(reach.end[end - 1])
                    inputs[position] = self._rows(
                        layout, memory, current, node.inputs[position], rows, stripe
                    )
                inputs = _alike(node.inputs, inputs)
                target = self._rows(layout, memory, current, output, (begin, end), stripe)
                options = node.options | rule.options(begin)
                self.nodes.append(Node(node.index, node.kind, tuple(inputs), (target,), options))

    def _memory(self, layout: Layout, index: int) -> int | None:
        """The tensor that holds a tensor's rows: itself where it is whole, one for all stripes where rows are kept."""
        held = layout.held[index]
        if index in layout.outside:
            return index
        return self._new(index, held.most) if held.kept else None

    def _new(self, like: int, rows: int) -> int:
        tensor = self.tensors[like]
        shape = (1, rows, *tensor.shape[2:])
        self.tensors.append(replace(tensor, index=len(self.tensors), shape=shape))
        return len(self.tensors) - 1

    def _part(self, whole: int, row: int, rows: int) -> int:
        """Rows of a tensor, which they share their memory with."""
        if row == 0 and rows == self.tensors[whole].shape[1]:
            return whole
        part = self._new(whole, rows)
        each = prod(self.tensors[whole].shape[2:])
        self.tensors[part] = replace(self.tensors[part], part=(whole, row * each))
        return part

    def _rows(
        self, layout: Layout, memory: dict[int, int | None], current: dict[int, int], index: int,
        rows: tuple[int, int], stripe: int,
    ) -> int:  # fmt: skip
        """The tensor of rows `rows` of tensor `index`."""
        begin, end = rows
        if index not in layout.held or index in layout.outside:
            return self._part(index, begin, end - begin)
        held, whole = layout.held[index], memory[index]
        start = int(held.start[stripe])
        return self._part(current[index] if whole is None else whole, begin - start, end - begin)

    def _moves(self, layout: Layout, node: Node, memory: int | None, stripe: int) -> Iterator[Node]:
        """What is kept from the stripe before goes to the beginning, in runs that do not overlap their old place."""
        held = layout.held[node.outputs[0]]
        assert memory is not None
        distance = int(held.start[stripe] - held.start[stripe - 1])
        kept = int(held.done[stripe] - held.start[stripe])
        if distance == 0:
            return
        for row in range(0, kept, distance):
            count = min(distance, kept - row)
            source, target = self._part(memory, row + distance, count), self._part(memory, row, count)
            yield Node(node.index, MOVE, (source,), (target,))


def _alike(before: tuple[int, ...], after: list[int]) -> list[int]:
    """Operands that are one tensor stay one."""
    return [after[before.index(index)] for index in before]
