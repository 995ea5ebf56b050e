"""Layers in 16 bits: C equals NumPy to the bit, NumPy is what torch computes, and no image makes C leave its memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from layer16_cases import LEAST, MOST, biases, convolution_case, doubling_case, values
from operator_images import operator_image, run

from edge_ad.compile.integer.layers16 import Range, quantized
from edge_ad.compile.integer.operators.rows16 import pack16, scratch16_bytes
from edge_ad.compile.integer.records.layers16 import Convolution16, Doubling16, Standardise16
from edge_ad.detectors.board_layers import Layer, apply
from edge_ad.errors import EngineError
from edge_ad.runtime.integer.layers16 import Scaling, doubling16, standardise16


@pytest.mark.parametrize("case", [convolution_case, doubling_case])
def test_the_kernel_is_the_definition(case) -> None:
    rng = np.random.default_rng(1)
    varied = 0
    for number in range(500):
        image, x, expected = case(rng)
        (got,) = run(image("plain"), x.astype(np.int16), np.int16)
        np.testing.assert_array_equal(got, expected.ravel(), err_msg=str(number))
        varied += len(np.unique(expected)) > 4
    assert varied > 120, "the cases say little"


def test_standardised_features_are_the_definition() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        channels, size = int(rng.integers(1, 7)), int(rng.integers(1, 40))
        x = values(rng, (channels, size))
        offsets = np.clip(biases(rng, channels), -(1 << 30), 1 << 30)
        constants = np.stack(
            [offsets, rng.integers(0, 1 << 31, channels), rng.choice([-31, -9, -5, -3, 0, 30], channels)]
        )

        def make(builder, source, results, constants=constants, channels=channels, size=size):
            held = builder.constant(constants.astype(np.int32))
            return Standardise16(source, results[0], held, channels, size), []

        (got,) = run(operator_image(2 * x.size, [2 * x.size], make), x.astype(np.int16), np.int16)
        np.testing.assert_array_equal(got, standardise16(x, constants).ravel())


def test_doubling_is_torchs_transposed_convolution() -> None:
    """With scalings of 1 the sums themselves, so both are exact."""
    rng = np.random.default_rng(4)
    torch_layer = torch.nn.ConvTranspose2d(3, 5, 4, 2, 1).double()
    weight = rng.integers(-9, 10, (3, 5, 4, 4))
    taps = np.zeros((2, 2, 5, 2, 2, 3), np.int64)
    for row, column, y, x in np.ndindex(2, 2, 2, 2):
        taps[row, column, :, y, x] = weight[:, :, row + 2 - 2 * y, column + 2 - 2 * x].T
    bias = rng.integers(-50, 50, 5)
    with torch.no_grad():
        torch_layer.weight.copy_(torch.from_numpy(weight))
        torch_layer.bias.copy_(torch.from_numpy(bias))
        image = rng.integers(-20, 20, (4, 6, 3))
        expected = torch_layer(torch.from_numpy(image).permute(2, 0, 1)[None].double())[0].permute(1, 2, 0)
    same = Scaling(np.stack([np.tile(bias, 4), np.full(20, 1 << 30)]), 1, LEAST, MOST)
    got = doubling16(image, taps.reshape(20, 2, 2, 3), same)
    np.testing.assert_array_equal(got, expected.numpy())


@pytest.mark.parametrize("kind", ["dense", "convolution", "doubling"])
def test_quantized_layers_are_near_the_float_ones_and_no_sum_can_overflow(kind) -> None:
    rng = np.random.default_rng(5)
    for relu in (False, True):
        shape = (60,) if kind == "dense" else (6, 8, 5)
        weights = rng.normal(
            size={"dense": (12, 60), "convolution": (12, 4, 4, 5), "doubling": (12, 2, 2, 5)}[kind]
        )
        weights[3] = 0
        layer = Layer(kind, weights, rng.normal(size=12), relu)
        source, result = Range(0.001, 0, (1 << 14) - 1), Range(0.01)
        made = quantized(layer, shape, source, result, where="test")
        x = rng.integers(0, 1 << 14, shape)
        exact = apply(layer, x * source.unit) / result.unit
        off = made.run(x) - np.clip(exact, made.scaling.low, made.scaling.high)
        assert np.abs(off).max() < 0.002 * np.abs(exact).max()
        rows = made.weights.reshape(12, -1)
        for sign in (1, -1):
            most = np.where(sign * rows > 0, source.high, source.low)
            assert np.abs((rows * most).sum(1) + made.scaling.channels[0]).max() < 1 << 31


WRONG = [
    {"in_h": 0}, {"in_w": 1 << 24}, {"in_c": -1}, {"rows": 0}, {"rows": 1 << 20}, {"low": 5, "high": 4},
    {"high": 1 << 15}, {"low": -(1 << 15) - 1}, {"input": 1 << 20}, {"input": 1}, {"output": 0x80000000},
    {"scratch": 0}, {"scratch": 2}, {"weights": 0x80000002}, {"weights": 0x8FFFFFF0}, {"channels": 0},
    {"channels": 0xFFFFFFFF}, {"shift": 31}, {"shift": -32},
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        *(("convolution", w) for w in (*WRONG, {"out_h": 5}, {"out_w": 1 << 16}, {"k_h": 1 << 12}, {"stride": 0},
                                       {"pad_top": -1}, {"pad_left": 1 << 25}, {"k_w": 0})),
        *(("doubling", w) for w in (*WRONG, {"rows": 6}, {"in_h": 3})),
    ],
)  # fmt: skip
def test_an_image_that_leads_outside_is_refused(kind: str, wrong: dict) -> None:
    rows, in_c = 8, 4
    weights = np.ones((rows, 4 * in_c), np.int16)
    channels = np.stack([np.zeros(rows), np.full(rows, 1 << 30)]).astype(np.int32)

    def make(builder, source, results):
        scratch = builder.buffer(scratch16_bytes(builder.kernels, 4 * in_c, rows))
        fields = {
            "input": source, "output": results[0], "scratch": scratch,
            "weights": builder.constant(pack16(builder.kernels, weights)),
            "channels": builder.constant(channels), "in_h": 2, "in_w": 2, "in_c": in_c, "rows": rows,
            "shift": 0, "low": 0, "high": 9,
        }  # fmt: skip
        if kind == "doubling":
            return Doubling16(**fields | wrong), [scratch]
        extents = {"out_h": 2, "out_w": 2, "k_h": 2, "k_w": 2, "stride": 1, "pad_top": 1, "pad_left": 1}
        return Convolution16(**fields | extents | wrong), [scratch]

    size = 2 * 2 * 2 * rows
    image = operator_image(2 * 2 * 2 * in_c, [size], make)
    with pytest.raises(EngineError, match="damaged"):
        run(image, np.zeros(2 * 2 * in_c, np.int16), np.int16)
