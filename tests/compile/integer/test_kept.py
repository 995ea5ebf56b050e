"""Layers kept in 16 bits: the board computes their definition to the bit, whole and in stripes, and LiteRT's INT8
results but for a rounding."""

from __future__ import annotations

import numpy as np
import pytest
from image_chains import Chain
from kept_chains import candidates, kept, kept_chain
from random_regions import random_regions
from tflite_maker import Maker, reference

from edge_ad.compile.integer.fold import fold_padding
from edge_ad.compile.integer.graph import Graph, Node
from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.kept import Mixed, rewritten
from edge_ad.compile.integer.lower import lower
from edge_ad.compile.integer.operators.convolution import SAME
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.compile.integer.striping import striped
from edge_ad.firmware_bridge.host_library import HostModel

CHAINS = 120


def on_board(graph: Graph, inputs: list[np.ndarray]) -> list[np.ndarray]:
    image = build_image(graph, "plain", stripes=False)
    return HostModel(image.content, inputs=image.inputs, outputs=image.outputs).infer(inputs)


def given(graph: Graph, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(-128, 128, graph.tensors[i].shape).astype(np.int8) for i in graph.inputs]


def test_any_layers_of_any_network_are_their_definition_whole_and_in_stripes() -> None:
    """Random layers of random networks: with padding of any kind, strides, branches, sums, tables and requantizing."""
    done = cut = straight = 0
    for seed in range(CHAINS):
        chain = kept_chain(seed)
        if chain is None:
            continue
        content, made = chain
        inputs, rng = given(made, seed), np.random.default_rng(seed)
        wanted = Mixed(content, made).run(inputs, made.outputs)
        folded = fold_padding(made)
        regions = random_regions(folded, rng)
        for form in (made, folded, striped(folded, regions)):
            for ours, expected in zip(on_board(form, inputs), wanted, strict=True):
                np.testing.assert_array_equal(ours.ravel(), expected.ravel(), err_msg=str(seed))
        kinds = [node.kind for node in made.nodes]
        done += kinds.count("convolution16")
        cut += any(region.stripes > 1 for region in regions)
        straight += any(
            n.kind == "CONV_2D" and made.tensors[n.outputs[0]].dtype == np.int16 for n in made.nodes
        )
    assert done > 120 and cut > 60 and straight > 20, "the networks say little"


@pytest.mark.parametrize("seed", range(40))
def test_a_layer_alone_gives_what_int8_gives_but_for_a_rounding(seed: int) -> None:
    """With the weights that INT8 has: the input is widened, the result narrowed. LiteRT's kernel is the oracle."""
    nodes: list[Node] = []
    tried = 1000 * seed
    while not nodes:
        chain, tried = Chain(tried), tried + 1
        (chain._convolution if seed % 2 else chain._pad)(chain.tensors[0])
        content = chain.m.data([chain.tensors[0]], [chain.tensors[-1]])
        graph = parse_tflite(content)
        nodes = candidates(graph)
    inputs, made = given(graph, seed), kept(graph, nodes)
    kinds = [node.kind for node in made.nodes]
    assert kinds[-3:] == ["widen", "convolution16", "narrow"]
    assert kinds[:-3] == [] or nodes[0].options["padding"] == SAME  # else it pads by itself
    (ours,), (theirs,) = on_board(made, inputs), reference(content, inputs)
    off = np.abs(ours.astype(int) - theirs.reshape(ours.shape))
    assert off.max() <= 1 and (off > 0).mean() < 0.1


@pytest.mark.parametrize("chosen", [{0}, {1}, {0, 1}, {1, 2}, {0, 1, 2}])
def test_products_are_kept_too(chosen: set[int]) -> None:
    rng = np.random.default_rng(4)
    m = Maker()
    x = first = m.tensor((3, 20), 0.02, 5)
    for units, depth, activation in ((16, 20, 1), (12, 16, 0), (8, 12, 3)):
        weights = rng.integers(-127, 128, (units, depth)).astype(np.int8)
        scales = rng.uniform(0.001, 0.004, units).astype(np.float32)
        kernel = m.tensor(weights.shape, scales, 0, data=weights)
        source = np.float32(m.graph.tensors[x].quantization.scale[0])
        bias = m.tensor((units,), source * scales, 0, dtype="INT32",
                        data=rng.integers(-500, 500, units).astype(np.int32))  # fmt: skip
        y = m.tensor((3, units), 0.02, -128 if activation else 3)
        m.operator("FULLY_CONNECTED", [x, kernel, bias], [y], "FullyConnectedOptions", 4,
                   fusedActivationFunction=activation)  # fmt: skip
        x = y
    content = m.data([first], [x])
    graph = parse_tflite(content)
    nodes = [graph.nodes[k] for k in sorted(chosen)]
    made, inputs = kept(graph, nodes), given(graph, 1)
    (wanted,) = Mixed(content, made).run(inputs, made.outputs)
    (ours,) = on_board(made, inputs)
    np.testing.assert_array_equal(ours.ravel(), wanted.ravel())
    off = np.abs(ours.astype(int).ravel() - reference(content, inputs)[0].astype(int).ravel())
    assert off.max() <= 2 and off.mean() < 0.7
    kinds = [node.kind for node in made.nodes]
    assert kinds.count("convolution16") == len(chosen)
    # a product before a kept one gives int16 out of its accumulator; what is not kept before none stays as it was
    assert ("CONV_2D" in kinds) == (0 not in chosen)
    assert kinds.count("widen") == (0 in chosen)


def test_nothing_kept_is_nothing_changed() -> None:
    graph = parse_tflite(Chain(3).grow(8))
    assert rewritten(graph, {}, "test").graph is graph


def test_no_weights_of_int8_are_left_of_a_kept_layer() -> None:
    graph = parse_tflite(Chain(1003).grow(6))
    nodes = candidates(graph)
    made = kept(graph, nodes)
    assert nodes and made.parameters == graph.parameters
    assert lower(made, "dsp").parameters == lower(graph, "dsp").parameters


def test_a_layer_far_outside_of_what_calibration_saw_has_room_for_four_times_that() -> None:
    """What INT8 cuts off reaches the next kept layer."""
    m = Maker()
    x, y, z = (m.tensor((1, 4, 4, 1), scale, -128) for scale in (1.0, 0.25, 2.0))
    for source, output in ((x, y), (y, z)):
        q = np.float32(m.graph.tensors[source].quantization.scale[0])
        weights = m.tensor((1, 1, 1, 1), np.float32(1 / 127), 0, data=np.full((1, 1, 1, 1), 127, np.int8))
        bias = m.tensor((1,), q / np.float32(127), 0, dtype="INT32", data=np.zeros(1, np.int32))
        m.operator("CONV_2D", [source, weights, bias], [output], "Conv2DOptions", 3, padding=1, strideH=1, strideW=1,
                   dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=1)  # fmt: skip
    content = m.data([x], [z])
    graph = parse_tflite(content)
    values = np.linspace(-128, 127, 16).round().astype(np.int8).reshape(1, 4, 4, 1)
    real = values.astype(float) + 128  # up to 255; the tensor between was calibrated up to 63.75
    cut_off = (reference(content, [values])[0].astype(float) + 128) * 2
    assert np.abs(cut_off - np.minimum(real, 63.75)).max() <= 1.3
    (whole,) = on_board(kept(graph, [graph.nodes[1]]), [values])
    assert np.abs((whole.astype(float).reshape(real.shape) + 128) * 2 - real).max() <= 1.01
