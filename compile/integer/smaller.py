"""The form of a graph that needs the least memory: the same outputs to the bit, from an arena no larger."""

from __future__ import annotations

from functools import lru_cache

from edge_ad.compile.integer.arena import plan
from edge_ad.compile.integer.fold import fold_padding
from edge_ad.compile.integer.graph import Graph
from edge_ad.compile.integer.lower import KernelSet, Program, lower
from edge_ad.compile.integer.striping import choose, striped

STRIPES = "Activations are made"  # how the sentence about stripes begins


@lru_cache(maxsize=16)
def smaller(graph: Graph, kernels: KernelSet) -> Graph:
    """`graph` with padding folded and, where the arena's plan says that it helps, regions in stripes.

    Raises TargetError as `lower` does.
    """
    whole = plan(lower(graph, kernels)).size  # what is malformed is refused before anybody looks at its rows
    folded = fold_padding(graph)
    regions = choose(folded)
    others = [folded, striped(folded, regions)] if regions else [folded]
    sizes = [plan(lower(form, kernels)).size for form in others]
    best = min(range(len(others)), key=sizes.__getitem__)
    return others[best] if sizes[best] <= whole else graph


def told(program: Program, whole: Program) -> list[str]:
    """What stripes changed, as a sentence, where there are any. whole: the same without."""
    if len(program.steps) <= len(whole.steps):
        return []
    sizes = [plan(each).size for each in (whole, program)]
    macs = [sum(step.macs for step in each.steps) for each in (whole, program)]
    return [
        f"{STRIPES} a few rows at a time: an arena of {sizes[1]:,} bytes instead of {sizes[0]:,}, "
        f"{len(program.steps)} operators instead of {len(whole.steps)}, and {macs[1] - macs[0]:+,} of {macs[0]:,} "
        "multiply-accumulates; the same to the bit."
    ]
