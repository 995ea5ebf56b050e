"""On QEMU's boards, convolutions to int16 and networks in stripes give what they give here, to the bit."""

from __future__ import annotations

from functools import cache

import board_images
import numpy as np
import numpy.typing as npt
import pytest
from image_chains import Chain
from int16_convolutions import random_case
from kept_chains import kept_chain
from tflite_maker import reference

from edge_ad.compile.integer.graph import Graph
from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.kept import Mixed
from edge_ad.compile.integer.read import parse_tflite

Int8 = npt.NDArray[np.int8]

pytestmark = pytest.mark.skipif(
    board_images.missing() is not None, reason=f"{board_images.missing()} is not installed"
)


@pytest.mark.parametrize("machine", board_images.MACHINES)
def test_convolutions_to_int16(machine: str) -> None:
    rng = np.random.default_rng(5)
    kernels = board_images.MACHINES[machine].kernels
    cases, expected = [], []
    for _ in range(60):
        case = random_case(rng)
        vectors = [rng.integers(-128, 128, case.shape), rng.choice([-128, 127], case.shape)]
        cases.append((build_image(case.graph, kernels, stripes=False), vectors))
        expected.append([case.expected(v).ravel() for v in vectors])
    for number, (result, outputs) in enumerate(
        zip(board_images.run_on(machine, cases), expected, strict=True)
    ):
        assert result.status == 0, f"{number} is refused"
        for got, wanted in zip(result.outputs, outputs, strict=True):
            np.testing.assert_array_equal(got.view("<i2"), wanted, err_msg=str(number))


@pytest.mark.parametrize("machine", board_images.MACHINES)
def test_networks_in_stripes(machine: str) -> None:
    kernels = board_images.MACHINES[machine].kernels
    cases, expected, cut = [], [], 0
    for seed in range(25):
        content = Chain(100 + seed).grow(8)
        graph = parse_tflite(content)
        shape = graph.tensors[graph.inputs[0]].shape
        values = np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
        image = build_image(graph, kernels)
        cut += len(image.program.steps) > len(build_image(graph, kernels, stripes=False).program.steps)
        cases.append((image, [values]))
        expected.append(np.concatenate([output.ravel() for output in reference(content, [values])]))
    assert cut > 5
    for result, wanted in zip(board_images.run_on(machine, cases), expected, strict=True):
        np.testing.assert_array_equal(result.outputs[0], wanted)


@cache
def kept_networks() -> list[tuple[Graph, Int8, npt.NDArray[np.generic]]]:
    """Networks with kept layers, inputs, and what they give by definition; for all machines."""
    made = []
    for seed in range(400, 440):
        found = kept_chain(seed)
        if found is None:
            continue
        content, graph = found
        shape = graph.tensors[graph.inputs[0]].shape
        values = np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
        outputs = Mixed(content, graph).run([values], graph.outputs)
        made.append((graph, values, np.concatenate([output.ravel() for output in outputs])))
    return made


@pytest.mark.parametrize("machine", board_images.MACHINES)
def test_networks_with_layers_in_16_bits(machine: str) -> None:
    kernels = board_images.MACHINES[machine].kernels
    cases = [(build_image(graph, kernels), [values]) for graph, values, _ in kept_networks()]
    expected = [wanted for _, _, wanted in kept_networks()]
    assert len(cases) > 20
    for number, (result, wanted) in enumerate(
        zip(board_images.run_on(machine, cases), expected, strict=True)
    ):
        np.testing.assert_array_equal(result.outputs[0], wanted, err_msg=str(number))
