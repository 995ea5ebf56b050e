"""Regions that nobody would choose, for what has to hold of any."""

from __future__ import annotations

import numpy as np

from edge_ad.compile.integer.graph import Graph
from edge_ad.compile.integer.striping import Region
from edge_ad.compile.integer.striping.rows import row_wise


def random_regions(graph: Graph, rng: np.random.Generator) -> list[Region]:
    """Runs of nodes that go row by row, cut at random places, in a random number of stripes."""
    regions, first = [], 0
    for k, node in enumerate(graph.nodes):
        stops = row_wise(graph, node) is None
        if stops or rng.random() < 0.15 or k == len(graph.nodes) - 1:
            end = k if stops else k + 1
            if end > first:
                regions.append(Region(first, end, int(rng.integers(1, 14))))
            first = k + 1
    return regions
