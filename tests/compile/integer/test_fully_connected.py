"""FULLY_CONNECTED equals LiteRT's reference kernel to the bit."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tflite_maker import Maker, reference

from edge_ad.compile.integer.image import Image, build_image
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.compile.integer.records import FullyConnected, FullyConnectedFine
from edge_ad.compile.integer.requantize import RoundedProduct
from edge_ad.errors import EngineError, ModelError, TargetError
from edge_ad.firmware_bridge.host_library import HostModel


def dense_file(
    x_shape, weights, *, x_scale=0.1, x_zero=0, w_scale=0.02, w_zero=0, axis=0, dtype="INT8", bias=None, y_shape=None,
    y_scale=0.1, y_zero=0, activation=0, keep=False, shuffled=0, constant=True,
) -> bytes:  # fmt: skip
    m = Maker()
    x = m.tensor(x_shape, x_scale, x_zero)
    w = m.tensor(weights.shape, w_scale, w_zero, dtype=dtype, data=weights if constant else None, axis=axis)
    inputs = [x, w]
    if bias is not None:
        scale = np.float32(x_scale) * np.asarray(w_scale, np.float32)
        inputs.append(m.tensor(bias.shape, scale, 0, dtype="INT32", data=bias.astype(np.int32)))
    if y_shape is None:
        batch = int(np.prod(x_shape)) // weights.shape[1]
        y_shape = (*x_shape[:-1], len(weights)) if keep else (batch, len(weights))
    y = m.tensor(y_shape, y_scale, y_zero)
    m.operator(
        "FULLY_CONNECTED", inputs, [y], "FullyConnectedOptions", 4, fusedActivationFunction=activation,
        keepNumDims=keep, weightsFormat=shuffled,
    )  # fmt: skip
    return m.data([x] if constant else [x, w], [y])


def sums_file(sums: np.ndarray, x_scale, w_scale, y_scale, per_channel: bool) -> bytes:
    """A layer whose sums are the given ones when its one input is 0."""
    scales = np.full(len(sums), w_scale, np.float32) if per_channel else w_scale
    weights = np.ones((len(sums), 1), np.int8)
    return dense_file((1, 1), weights, x_scale=x_scale, w_scale=scales, bias=sums, y_scale=y_scale)


def compiled(content: bytes) -> tuple[Image, HostModel]:
    image = build_image(parse_tflite(content), "plain")
    return image, HostModel(image.content, image.plan.size)


def assert_equal(content: bytes, values: np.ndarray) -> Image:
    image, model = compiled(content)
    np.testing.assert_array_equal(model.infer([values])[0], reference(content, [values])[0].ravel())
    return image


def near_steps(ratio: float, reach: int = 2) -> np.ndarray:
    """The sums at which the output changes, and their neighbours."""
    near = np.rint((np.arange(-256, 256) + 0.5) / ratio).astype(np.int64)
    return np.unique(near[:, None] + np.arange(-reach, reach + 1)).clip(-(2**31) + 200, 2**31 - 200)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([(1,), (3,), (2, 3), (2, 1, 3)]), st.booleans(), st.booleans(), st.booleans(), st.booleans(),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_any_shape_and_scales(
    leading: tuple[int, ...], per_channel: bool, biased: bool, keep: bool, halves: bool, seed: int
) -> None:
    """halves: scales are powers of two, so that sums lie half way between outputs."""
    rng = np.random.default_rng(seed)
    depth, units = int(rng.integers(1, 70)), int(rng.integers(1, 20))
    channels = units if per_channel else 1
    if halves:
        x_scale, w_scale = 2.0 ** rng.integers(-6, 1), 2.0 ** rng.integers(-6, 1, channels)
        y_scale = x_scale * w_scale.max() * 2.0 ** rng.integers(-2, 11)
    else:
        x_scale, w_scale = 10.0 ** rng.uniform(-3, 0), 10.0 ** rng.uniform(-3, 0, channels)
        y_scale = x_scale * w_scale.max() * 10.0 ** rng.uniform(-1, 3.5)
    weights = rng.integers(-127, 128, (units, depth)).astype(np.int8)
    content = dense_file(
        (*leading, depth), weights, x_scale=x_scale, x_zero=rng.integers(-128, 128), w_scale=w_scale,
        bias=rng.integers(-5000, 5000, units) if biased else None, y_scale=y_scale, y_zero=rng.integers(-128, 128),
        activation=int(rng.integers(4)), keep=keep,
    )  # fmt: skip
    assert_equal(content, rng.integers(-128, 128, (*leading, depth)).astype(np.int8))


@settings(max_examples=20, deadline=None)
@given(st.booleans(), st.integers(0, 2**32 - 1))
def test_sums_next_to_each_step_of_the_output(per_channel: bool, seed: int) -> None:
    """Where a multiplier that is only near, or of float32 scales, gives other results."""
    rng = np.random.default_rng(seed)
    x_scale, w_scale = (np.float32(rng.uniform(0.001, 1)) for _ in range(2))
    y_scale = np.float32(x_scale * w_scale * 2.0 ** rng.uniform(-2, 20))
    sums = near_steps(float(x_scale) * float(w_scale) / float(y_scale))
    assert_equal(sums_file(sums, x_scale, w_scale, y_scale, per_channel), np.zeros((1, 1), np.int8))


@pytest.mark.parametrize("y_scale", [1, 2, 3, 5, 6, 7, 10, 12, 48, 100, 1000, 2**10, 3 * 2**18])
def test_halves_go_away_from_zero(y_scale: float) -> None:
    """Also those that a float64 makes of a product that is not quite a half, as 3 * (1 / 6)."""
    assert_equal(sums_file(near_steps(1 / y_scale), 1.0, 1.0, y_scale, False), np.zeros((1, 1), np.int8))


FINE = {"x_scale": 0.37, "w_scale": 0.0131, "y_scale": 4700.0}


def test_scales_that_31_bits_are_too_few_for() -> None:
    sums = near_steps(
        np.prod(np.float32([FINE["x_scale"], FINE["w_scale"]]).astype(float)) / FINE["y_scale"], 3
    )
    content = sums_file(sums, **FINE, per_channel=False)
    image = assert_equal(content, np.zeros((1, 1), np.int8))
    assert [type(step.record) for step in image.program.steps] == [FullyConnectedFine]


def test_a_fine_layer_with_inputs() -> None:
    rng = np.random.default_rng(3)
    weights = rng.integers(-127, 128, (5, 300)).astype(np.int8)
    bias = np.array([2**30, -(2**30), 10**8, -(10**6), 0])
    content = dense_file((2, 300), weights, bias=bias, x_zero=-7, **FINE)
    image = assert_equal(content, rng.integers(-128, 128, (2, 300)).astype(np.int8))
    assert [type(step.record) for step in image.program.steps] == [FullyConnectedFine]


def no_factor(scale: float, largest: int) -> bool:
    """Whether float64 rounds products to and from a half so that one factor, however exact, cannot give both: 10 * 0.35
    is 3.5, and 90 * 0.35 less than 31.5."""
    sums = [x for x in {int(s) for s in near_steps(scale)} if 0 < x <= largest]
    rounded = {x: int(x * scale) + (x * scale - int(x * scale) >= 0.5) for x in sums}
    half = Fraction(1, 2)
    return max((n - half) / x for x, n in rounded.items()) >= min((n + half) / x for x, n in rounded.items())


@settings(max_examples=100, deadline=None)
@example(0.35, 0, 90, 62)
@given(st.floats(2.0**-24, 8), st.integers(-128, 127), st.integers(1, 2**31 - 1), st.sampled_from([31, 62]))
def test_a_multiplier_that_is_given_is_exact(scale: float, zero: int, largest: int, bits: int) -> None:
    found = RoundedProduct(scale, zero, largest).multiplier(bits)
    if found is None:
        assert bits == 31 or no_factor(scale, largest)
        return
    multiplier, shift = found
    for x in {int(s) for s in near_steps(scale) if abs(s) <= largest} | {largest, -largest}:
        product = abs(x) * scale
        away = int(product) + (product - int(product) >= 0.5)
        fixed = (x * multiplier + (1 << (bits - shift - 1))) >> (bits - shift)
        assert max(-128, min(127, fixed + zero)) == max(-128, min(127, (away if x > 0 else -away) + zero))


def test_multiply_accumulates_of_a_layer() -> None:
    image, _ = compiled(dense_file((3, 40), np.ones((7, 40), np.int8)))
    assert [type(step.record) for step in image.program.steps] == [FullyConnected]
    assert image.macs == 3 * 40 * 7


def test_a_negative_part_of_a_fine_multiplier_is_refused() -> None:
    content = dense_file((1, 2), np.ones((1, 2), np.int8), bias=np.array([2**30]), **FINE)
    image, _ = compiled(content)
    assert [type(step.record) for step in image.program.steps] == [FullyConnectedFine]
    (steps,) = struct.unpack_from("<I", image.content, 20)
    (record,) = struct.unpack_from("<I", image.content, steps + 4)
    (channels,) = struct.unpack_from("<I", image.content, record + 12)
    at = (channels & 0x7FFFFFFF) + 12
    body = image.content[:at] + struct.pack("<i", -1) + image.content[at + 4 :]
    body = body[:12] + struct.pack("<I", zlib.crc32(body[16:])) + body[16:]
    with pytest.raises(EngineError, match="damaged"):
        HostModel(body, image.plan.size)


ONES = np.ones((4, 6), np.int8)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (dense_file((2, 6), ONES, constant=False), "weights are computed"),
        (dense_file((2, 6), ONES.astype(np.int16), dtype="INT16"), "int16"),
        (dense_file((2, 6), ONES, w_zero=3), "zero point"),
        (dense_file((2, 6), ONES, shuffled=1), "shuffled"),
        (dense_file((2, 6), ONES, w_scale=[0.1] * 6, axis=1), "6 scales for 4 channels"),
        (dense_file((2, 6), ONES, w_scale=[0.1] * 4, axis=1), "axis 1, not 0"),
        (dense_file((2, 6), ONES, y_shape=(3, 4)), r"do not give \(3, 4\)"),
        (dense_file((2, 7), ONES, y_shape=(2, 4)), r"do not give \(2, 4\)"),
        (dense_file((2, 3, 6), ONES, keep=True, y_shape=(6, 4)), r"do not give \(6, 4\)"),
        (dense_file((2, 6), ONES, bias=np.zeros(5)), "5 values for 4"),
        (dense_file((2, 6), ONES, bias=np.full(4, 2**31 - 1)), "32 bits"),
        (dense_file((2, 6), ONES, y_scale=1e-9), "too fine"),
        (dense_file((2, 6), ONES, activation=4), "activation 4"),
        (dense_file((2, 6), ONES, w_scale=float("inf")), "not finite"),
    ],
)
def test_what_is_not_covered_is_named(content: bytes, what: str) -> None:
    with pytest.raises(TargetError, match=what) as caught:
        build_image(parse_tflite(content), "plain")
    assert "FULLY_CONNECTED (node 0)" in str(caught.value)


def test_weights_of_four_bits_are_refused() -> None:
    with pytest.raises(ModelError, match="INT4"):
        parse_tflite(dense_file((2, 6), ONES, dtype="INT4"))
