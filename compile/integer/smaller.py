"""The form of a graph that needs the least memory: the same outputs to the bit, from an arena no larger."""

from __future__ import annotations

from functools import lru_cache

from edge_ad.compile.integer.arena import plan
from edge_ad.compile.integer.fold import fold_padding
from edge_ad.compile.integer.graph import Graph
from edge_ad.compile.integer.image import Image, write_image
from edge_ad.compile.integer.lower import KernelSet, Program, lower
from edge_ad.compile.integer.striping import choices, striped

ARENA_WORTH = (
    4  # bytes of the image that a byte of the arena is worth: boards have that much more flash than memory
)
STRIPES = "Activations are made"  # how the sentence about stripes begins


@lru_cache(maxsize=16)
def smaller(graph: Graph, kernels: KernelSet) -> Graph:
    """`graph` with padding folded and regions in stripes, so that arena and image cost the least together.

    Raises TargetError as `lower` does.
    """
    whole = write_image(
        lower(graph, kernels)
    )  # what is malformed is refused before anybody looks at its rows
    best, least = graph, _cost(whole)
    folded = fold_padding(graph)
    for form in (folded, *(striped(folded, regions) for regions in choices(folded))):
        image = write_image(lower(form, kernels))
        if image.plan.size <= whole.plan.size and _cost(image) < least:
            best, least = form, _cost(image)
    return best


def _cost(image: Image) -> int:
    return ARENA_WORTH * image.plan.size + len(image.content)


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
