"""Which nodes may be made in stripes, and in how many.

What a choice needs is estimated from the bytes that are alive at each node, without a plan of the arena; `smaller`
plans them all and takes the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, prod

import numpy as np

from edge_ad.compile.integer.graph import Graph, Node
from edge_ad.compile.integer.striping.layout import Layout, Region, lay_out
from edge_ad.compile.integer.striping.rewrite import read_outside
from edge_ad.compile.integer.striping.rows import ELEMENTWISE, RowWise, row_wise

LONGEST = 64  # nodes of a region
_COUNTS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_ABOVE = (1.0, 1.02, 1.05, 1.1, 1.2, 1.35, 1.5, 2.0, 3.0)  # limits that are tried, over the lowest one


def choices(graph: Graph) -> list[tuple[Region, ...]]:
    """Regions that need less memory than the whole graph, one choice for each of a few limits; none where none do.

    The bytes alive at the widest node cannot fall below some limit; for it and for a few higher ones the fewest nodes
    are put into stripes, and as few stripes made, as stay below it.
    """
    costs = _Costs(graph)
    lowest = _lowest_limit(costs)
    found: dict[tuple[Region, ...], None] = {}
    for limit in (lowest * above for above in _ABOVE):
        if limit >= costs.peak:
            break
        spans = _fewest(costs, limit)
        assert spans is not None
        found[tuple(costs.coarsest(first, end, limit) for first, end in spans)] = None
    return list(found)


@dataclass(frozen=True)
class _Life:
    """Node that writes a tensor (-1: an input), last node that reads it, bytes."""

    first: int
    last: int
    size: int


class _Costs:
    """Bytes alive at each node of a graph, and in each region of it once that is in stripes."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.rules = [row_wise(graph, node) for node in graph.nodes]
        self.lives = _lives(graph)
        self.at = [self._unstriped(k) for k in range(len(graph.nodes))]
        self.peak = max(self.at, default=0)
        self.layouts: dict[Region, Layout | None] = {}
        self.known: dict[Region, float] = {}

    def spans(self) -> list[tuple[int, int]]:
        """All runs of two nodes and more that go row by row."""
        found = []
        for first in range(len(self.rules)):
            for end in range(first + 1, min(len(self.rules), first + LONGEST) + 1):
                if self.rules[end - 1] is None:
                    break
                if end - first > 1:
                    found.append((first, end))
        return found

    def finest(self, first: int, end: int) -> Region:
        rows = max(self.graph.tensors[node.outputs[0]].shape[1] for node in self.graph.nodes[first:end])
        return Region(first, end, max((count for count in _COUNTS if count <= rows), default=1))

    def coarsest(self, first: int, end: int, limit: float) -> Region:
        """The fewest stripes that stay below a limit, which the finest do."""
        finest = self.finest(first, end)
        for count in _COUNTS:
            if count >= finest.stripes:
                break
            region = Region(first, end, count)
            if self.bytes(region) <= limit:
                return region
        return finest

    def bytes(self, region: Region) -> float:
        """Alive at a region's widest moment: what is whole, and what the stripes hold. Infinite where it cannot be."""
        if region not in self.known:
            self.known[region] = self._bytes(region)
        return self.known[region]

    def _bytes(self, region: Region) -> float:
        whole = self.whole(region.first, region.end)
        if whole >= self.peak or region.stripes < 2:
            return inf
        layout = self.layout(region)
        return inf if layout is None else whole + _held(self.graph, layout)

    def layout(self, region: Region) -> Layout | None:
        if region not in self.layouts:
            nodes = list(zip(self.graph.nodes, self.rules, strict=True))[region.first : region.end]
            outside = read_outside(self.graph, region.first, region.end)
            self.layouts[region] = lay_out(self.graph, _sure(nodes), outside, region.stripes)
        return self.layouts[region]

    def whole(self, first: int, end: int) -> int:
        """Bytes of what is whole while nodes first to before end are in stripes: made before, or read behind."""
        return sum(
            life.size
            for life in self.lives.values()
            if (life.first < first <= life.last) or (first <= life.first < end <= life.last)
        )

    def _unstriped(self, k: int) -> float:
        node = self.graph.nodes[k]
        alive = sum(life.size for life in self.lives.values() if life.first <= k <= life.last)
        return alive - _shared(node, {i: life.size for i, life in self.lives.items() if life.last == k})


def _sure(nodes: Sequence[tuple[Node, RowWise | None]]) -> list[tuple[Node, RowWise]]:
    return [(node, rule) for node, rule in nodes if rule is not None]


def _lives(graph: Graph) -> dict[int, _Life]:
    lives = dict.fromkeys(graph.inputs, (-1, -1))
    for k, node in enumerate(graph.nodes):
        for index in (*node.inputs, *node.outputs):
            if index >= 0 and graph.tensors[index].data is None:
                lives[index] = lives.get(index, (k, k))[0], k
    for index in graph.outputs:
        lives[index] = lives.get(index, (-1, -1))[0], len(graph.nodes)
    return {index: _Life(*life, graph.tensors[index].nbytes) for index, life in lives.items()}


def _shared(node: Node, dying: dict[int, int]) -> int:
    """Bytes of an operand that is read for the last time, whose memory the result takes. dying: bytes of each such."""
    if node.kind not in ELEMENTWISE:
        return 0
    return max((dying[index] for index in node.inputs if index in dying), default=0)


def _held(graph: Graph, layout: Layout) -> int:
    """Bytes that a region's own tensors hold at its widest moment."""
    alive = np.zeros((len(layout.nodes), layout.stripes), np.int64)
    dying: list[dict[int, int]] = [{} for _ in layout.nodes]
    for k, (node, _) in enumerate(layout.nodes):
        index = node.outputs[0]
        if index in layout.outside:
            continue
        held, tensor = layout.held[index], graph.tensors[index]
        row = prod(tensor.shape[2:]) * tensor.dtype.itemsize
        if held.kept:
            alive += held.most * row
            continue
        last = max((i for i, (n, _) in enumerate(layout.nodes) if index in n.inputs), default=k)
        alive[k : last + 1] += (held.need - held.done) * row
        dying[last][index] = row
    for k, (node, _) in enumerate(layout.nodes):
        output = node.outputs[0]
        held = layout.held[output]
        if output not in layout.outside and not held.kept:
            alive[k] -= (held.need - held.done) * _shared(node, dying[k])
    return int(alive.max())


def _lowest_limit(costs: _Costs) -> float:
    """The lowest limit that some choice of regions stays below."""
    sizes = {*costs.at} | {costs.bytes(costs.finest(*span)) for span in costs.spans()}
    limits = sorted(size for size in sizes if size <= costs.peak)
    low, high = 0, len(limits) - 1
    while low < high:
        middle = (low + high) // 2
        if _fewest(costs, limits[middle]) is None:
            low = middle + 1
        else:
            high = middle
    return limits[low] if limits else costs.peak


def _fewest(costs: _Costs, limit: float) -> list[tuple[int, int]] | None:
    """The regions with the fewest nodes in all that stay below a limit, at their finest; None where none do."""
    best: list[tuple[float, list[tuple[int, int]]]] = [(0, [])]
    by_end: dict[int, list[tuple[int, int]]] = {}
    for span in costs.spans():
        if costs.bytes(costs.finest(*span)) <= limit:
            by_end.setdefault(span[1], []).append(span)
    for k, size in enumerate(costs.at):
        options = [best[k]] if size <= limit else [(inf, [])]
        for first, end in by_end.get(k + 1, []):
            count, regions = best[first]
            options.append((count + end - first, [*regions, (first, end)]))
        best.append(min(options, key=lambda option: option[0]))
    return None if best[-1][0] == inf else best[-1][1]
