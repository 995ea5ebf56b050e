"""On QEMU's boards the DSP and MVE kernels give what LiteRT's reference kernels give, to the bit."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import fields, replace
from pathlib import Path

import board_images
import numpy as np
import pytest
from layer16_cases import convolution_case, doubling_case
from matrix_models import layer, random_model
from regret_cases import random_case
from tflite_maker import reference

from edge_ad.compile.integer.image import Image, build_image
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.compile.integer.records import NO_REF

pytestmark = pytest.mark.skipif(
    board_images.missing() is not None, reason=f"{board_images.missing()} is not installed"
)
KINDS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")
CASES_OF_A_KIND = 60
BAD_IMAGE = 6  # EDGE_BAD_IMAGE


@pytest.mark.parametrize("machine", board_images.MACHINES)
def test_equals_the_reference(machine: str) -> None:
    rng = np.random.default_rng(20)
    kernels = board_images.MACHINES[machine].kernels
    cases, expected = [], []
    for kind in KINDS:
        for _ in range(CASES_OF_A_KIND):
            content, size = random_model(rng, kind)
            vectors = [
                rng.integers(-128, 128, size).astype(np.int8),
                rng.choice([-128, 127], size).astype(np.int8),
            ]
            cases.append((build_image(parse_tflite(content), kernels), vectors))
            expected.append((kind, [reference(content, [v])[0].ravel() for v in vectors]))
    spread = [o for _, outputs in expected for o in outputs]
    assert np.mean([len(np.unique(o)) > 2 for o in spread]) > 0.8, "the cases say little"
    for number, (result, (kind, outputs)) in enumerate(
        zip(board_images.run_on(machine, cases), expected, strict=True)
    ):
        assert result.status == 0, f"{kind} {number} is refused"
        for got, wanted in zip(result.outputs, outputs, strict=True):
            np.testing.assert_array_equal(got, wanted, err_msg=f"{kind} {number}")


@pytest.mark.parametrize("machine", board_images.MACHINES)
def test_layers_in_16_bits_and_searches_equal_their_definitions(machine: str) -> None:
    rng = np.random.default_rng(21)
    kernels = board_images.MACHINES[machine].kernels
    layers = [case(rng) for case in (convolution_case, doubling_case) for _ in range(60)]
    searches = [random_case(rng) for _ in range(40)]
    cases = [(image(kernels), [x.astype(np.int16)]) for image, x, _ in layers]
    cases += [(case.image(kernels), [np.concatenate(case.inputs)]) for case in searches]
    wanted = [expected.astype("<i2").tobytes() for _, _, expected in layers]
    for case in searches:
        found = case.figures()
        wanted.append(np.array([found.neg_elbo, found.kl, found.regret], "<i4").tobytes())
    flat = [(image, [values.ravel().view(np.int8) for values in given]) for image, given in cases]
    for number, (result, expected) in enumerate(zip(board_images.run_on(machine, flat), wanted, strict=True)):
        assert result.status == 0, number
        assert result.outputs[0].tobytes() == expected, number


@pytest.mark.parametrize("machine", board_images.MACHINES)
def test_ad01_equals_the_reference(machine: str) -> None:
    """MLPerf Tiny's anomaly detection network on 1,000 random inputs."""
    root = Path(__file__).resolve().parents[2]
    data = Path(os.environ.get("EDGE_AD_DATA", root.parent / "shared" / "data"))
    file = data / "models" / "mlperf_tiny_ad01" / "ad01_int8.tflite"
    if not file.exists():
        pytest.skip(f"{file.name} is not there: set EDGE_AD_DATA")
    content = file.read_bytes()
    inputs = list(np.random.default_rng(7).integers(-128, 128, (1000, 640)).astype(np.int8))
    image = build_image(parse_tflite(content), board_images.MACHINES[machine].kernels)
    (result,) = board_images.run_on(machine, [(image, inputs)])
    wanted = [reference(content, [values])[0].ravel() for values in inputs]
    np.testing.assert_array_equal(result.outputs, wanted)


@pytest.mark.parametrize("machine", ["mps2-an386", "mps3-an547"])
def test_instructions_are_counted_exactly(machine: str) -> None:
    """Twice the same work is twice the same number; without -icount the board says that it cannot tell."""
    content, size = random_model(np.random.default_rng(1), "CONV_2D")
    case = (
        build_image(parse_tflite(content), board_images.MACHINES[machine].kernels),
        [np.zeros(size, np.int8)] * 3,
    )
    (counted,) = board_images.run_on(machine, [case], count=True)
    assert len(set(counted.instructions)) == 1 and counted.instructions[0] > 0
    (again,) = board_images.run_on(machine, [case], count=True)
    assert again.instructions == counted.instructions
    (uncounted,) = board_images.run_on(machine, [case])
    assert uncounted.instructions == [0, 0, 0]


@pytest.mark.parametrize("machine", ["mps2-an386", "mps3-an547"])
def test_scratch_is_checked(machine: str) -> None:
    """Scratch that does not exist, leaves the arena, or (pointers lie in it) is written as output is refused."""
    rng = np.random.default_rng(2)
    kernels = board_images.MACHINES[machine].kernels
    weights = rng.integers(-127, 128, (1, 3, 3, 8)).astype(np.int8)
    content = layer(
        "DEPTHWISE_CONV_2D", (1, 5, 5, 8), weights, (1, 5, 5, 8), axis=3, rng=rng, options="DepthwiseConv2DOptions",
        depthMultiplier=1, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1, padding=0,
        fusedActivationFunction=0,
    )  # fmt: skip
    image = build_image(parse_tflite(content), kernels)
    record = image.program.steps[0].record
    output, scratch = image.plan.offset(record.output), image.plan.offset(record.scratch)
    places = [scratch, output, output + 8 * 25 - 4, NO_REF, image.plan.size - 4]
    cases = [(_with_scratch(image, place), [np.zeros(200, np.int8)]) for place in places]
    assert [r.status for r in board_images.run_on(machine, cases)] == [0] + [BAD_IMAGE] * 4


def _with_scratch(image: Image, place: int) -> Image:
    """The same image with the depthwise record's scratch elsewhere."""
    content = bytearray(image.content)
    (steps,) = struct.unpack_from("<I", content, 20)
    (record,) = struct.unpack_from("<I", content, steps + 4)
    words = [f.name for f in fields(image.program.steps[0].record)]
    struct.pack_into("<I", content, record + 4 * words.index("scratch"), place)
    struct.pack_into("<I", content, 12, zlib.crc32(content[16:]))
    return replace(image, content=bytes(content))
