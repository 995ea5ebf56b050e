"""A network in stripes gives what it gives whole, to the bit, from less memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from image_chains import Chain, first_layers
from random_regions import random_regions
from tflite_maker import reference

from edge_ad.compile.integer.arena import plan
from edge_ad.compile.integer.fold import fold_padding
from edge_ad.compile.integer.graph import Graph
from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.lower import lower
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.compile.integer.striping import Region, striped
from edge_ad.firmware_bridge.host_library import HostModel

CHAINS = 60


def _inputs(graph: Graph, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(-128, 128, graph.tensors[i].shape).astype(np.int8) for i in graph.inputs]


def _run(graph: Graph, inputs: list[np.ndarray]) -> list[np.ndarray]:
    return HostModel(build_image(graph, "plain", stripes=False).content).infer(inputs)


@pytest.mark.parametrize("seed", range(CHAINS))
def test_stripes_change_no_bit(seed: int) -> None:
    """Any regions, not only such as anybody would choose; and padding that convolutions took over."""
    content = Chain(seed).grow(8)
    graph = parse_tflite(content)
    inputs = _inputs(graph, seed)
    expected = reference(content, inputs)
    folded = fold_padding(graph)
    cut = striped(folded, random_regions(folded, np.random.default_rng(seed)))
    for form in (graph, folded, cut):
        for ours, theirs in zip(_run(form, inputs), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs.ravel())
    macs = [sum(step.macs for step in lower(form, "plain").steps) for form in (folded, cut)]
    assert macs[1] <= macs[0]  # no product is computed twice


@pytest.mark.parametrize("seed", range(CHAINS))
def test_the_form_that_is_chosen_is_never_larger(seed: int) -> None:
    graph = parse_tflite(Chain(seed).grow(8))
    images = [build_image(graph, "dsp", stripes=stripes) for stripes in (False, True)]
    assert images[1].plan.size <= images[0].plan.size
    inputs = _inputs(graph, seed)
    whole, cut = (
        HostModel(build_image(graph, "plain", stripes=s).content).infer(inputs) for s in (False, True)
    )
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(a, b)


def test_early_activations_are_not_whole() -> None:
    """Convolution, pool, convolution, pool at 64 px: only a few rows of the first two activations are in memory."""
    graph = parse_tflite(first_layers())
    whole, cut = (build_image(graph, "dsp", stripes=stripes) for stripes in (False, True))
    given, first = 64 * 64 * 3, 61 * 61 * 16
    assert whole.plan.size > given + first
    assert cut.plan.size < given + first // 4
    assert cut.macs < whole.macs  # the last row and column of the first activation are read by nobody


def test_no_two_buffers_that_are_alive_at_once_share_memory() -> None:
    """Also those that stripes hold for one another."""
    for seed in range(10):
        folded = fold_padding(parse_tflite(Chain(seed).grow(8)))
        program = lower(striped(folded, random_regions(folded, np.random.default_rng(seed))), "dsp")
        result = plan(program)
        shared = {frozenset((a.number, b.number)) for step in program.steps for a, b in step.in_place}
        for a in result.placed:
            for b in result.placed[: a.buffer.number]:
                at_once = a.first <= b.last and b.first <= a.last
                apart = a.offset + a.buffer.size <= b.offset or b.offset + b.buffer.size <= a.offset
                assert apart or not at_once or frozenset((a.buffer.number, b.buffer.number)) in shared


def test_a_node_that_needs_all_rows_is_no_part_of_a_region() -> None:
    graph = parse_tflite(first_layers())
    odd = replace(graph, nodes=(replace(graph.nodes[0], kind="SOFTMAX"), *graph.nodes[1:]))
    with pytest.raises(ValueError, match=r"SOFTMAX .* does not go row by row"):
        striped(odd, [Region(0, 2, 4)])
