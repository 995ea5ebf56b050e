"""DEPTHWISE_CONV_2D equals LiteRT's reference kernel to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_maker import Maker, reference

from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.operators.convolution import SAME, VALID, padding
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.compile.integer.records import Convolution, Depthwise
from edge_ad.errors import TargetError
from edge_ad.firmware_bridge.host_library import HostModel


def depthwise_file(
    x_shape, weights, *, x_scale=0.1, x_zero=0, w_scale=0.02, axis=3, bias=None, y_scale=0.1, y_zero=0, kind=SAME,
    strides=(1, 1), dilations=(1, 1), activation=0, multiplier=None,
) -> bytes:  # fmt: skip
    """multiplier: the option, by itself without effect; the shapes decide."""
    m = Maker()
    x = m.tensor(x_shape, x_scale, x_zero)
    inputs = [x, m.tensor(weights.shape, w_scale, 0, data=weights, axis=axis)]
    if bias is not None:
        scale = np.float32(x_scale) * np.asarray(w_scale, np.float32)
        inputs.append(m.tensor(bias.shape, scale, 0, dtype="INT32", data=bias.astype(np.int32)))
    sizes = zip(x_shape[1:3], weights.shape[1:3], strides, dilations, strict=True)
    y_shape = (x_shape[0], *(padding(kind, *size)[0] for size in sizes), weights.shape[-1])
    y = m.tensor(y_shape, y_scale, y_zero)
    m.operator(
        "DEPTHWISE_CONV_2D", inputs, [y], "DepthwiseConv2DOptions", 3, padding=kind, strideH=strides[0],
        strideW=strides[1], dilationHFactor=dilations[0], dilationWFactor=dilations[1],
        depthMultiplier=weights.shape[-1] // x_shape[-1] if multiplier is None else multiplier,
        fusedActivationFunction=activation,
    )  # fmt: skip
    return m.data([x], [y])


def assert_equal(content: bytes, values: np.ndarray) -> None:
    image = build_image(parse_tflite(content), "plain")
    model = HostModel(image.content, image.plan.size)
    np.testing.assert_array_equal(model.infer([values])[0], reference(content, [values])[0].ravel())


def int8(rng: np.random.Generator, shape: tuple[int, ...], low: int = -128) -> np.ndarray:
    return rng.integers(low, 128, shape).astype(np.int8)


@st.composite
def geometry(draw: st.DrawFn) -> dict[str, object]:
    small = st.integers(1, 4)
    kernel, strides, dilations = (draw(st.tuples(small, small)) for _ in range(3))
    kind = draw(st.sampled_from([SAME, VALID]))
    size = [draw(st.integers(1, 9)) for _ in range(2)]
    if kind == VALID:
        size = [max(n, (k - 1) * d + 1) for n, k, d in zip(size, kernel, dilations, strict=True)]
    channels, multiplier = draw(st.integers(1, 10)), draw(st.sampled_from([1, 1, 2, 3, 4, 5]))
    return {
        "x_shape": (draw(st.integers(1, 2)), *size, channels), "w_shape": (1, *kernel, channels * multiplier),
        "kind": kind, "strides": strides, "dilations": dilations, "activation": draw(st.integers(0, 3)),
    }  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(geometry(), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_any_geometry_and_scales(
    shape: dict, per_channel: bool, biased: bool, halves: bool, seed: int
) -> None:
    """halves: scales are powers of two, so that sums lie half way between outputs."""
    rng = np.random.default_rng(seed)
    weights = int8(rng, shape.pop("w_shape"), -127)
    out_c = weights.shape[-1]
    channels = out_c if per_channel else 1
    if halves:
        x_scale, w_scale = 2.0 ** rng.integers(-6, 1), 2.0 ** rng.integers(-6, 1, channels)
        y_scale = x_scale * w_scale.max() * 2.0 ** rng.integers(0, 9)
    else:
        x_scale, w_scale = 10.0 ** rng.uniform(-3, 0), 10.0 ** rng.uniform(-3, 0, channels)
        y_scale = x_scale * w_scale.max() * 10.0 ** rng.uniform(0, 3)
    content = depthwise_file(
        weights=weights, x_scale=x_scale, x_zero=rng.integers(-128, 128), w_scale=w_scale, y_scale=y_scale,
        y_zero=rng.integers(-128, 128), bias=rng.integers(-9000, 9000, out_c) if biased else None, **shape,
    )  # fmt: skip
    assert_equal(content, int8(rng, shape["x_shape"]))


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([SAME, VALID]), st.integers(0, 2**32 - 1))
def test_layers_of_real_size(kind: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = int8(rng, (1, 3, 3, 66), -127)
    content = depthwise_file(
        (1, 25, 13, 66), weights, x_zero=-9, w_scale=rng.uniform(0.01, 0.02, 66), y_scale=0.5, y_zero=-128,
        bias=rng.integers(-9000, 9000, 66), kind=kind, strides=(2, 1), activation=3,
    )  # fmt: skip
    assert_equal(content, int8(rng, (1, 25, 13, 66)))


@pytest.mark.parametrize(("in_c", "record"), [(1, Convolution), (4, Depthwise)])
def test_one_input_channel_is_an_ordinary_convolution(in_c: int, record: type) -> None:
    content = depthwise_file((1, 9, 9, in_c), np.ones((1, 3, 3, 8), np.int8), x_zero=5)
    image = build_image(parse_tflite(content), "plain")
    assert [type(step.record) for step in image.program.steps] == [record]
    assert image.macs == 9 * 9 * 8 * 9
    assert_equal(content, int8(np.random.default_rng(0), (1, 9, 9, in_c)))


def test_the_shapes_decide_and_not_the_depth_multiplier() -> None:
    content = depthwise_file((1, 5, 5, 2), np.ones((1, 3, 3, 6), np.int8), multiplier=7, y_scale=0.5)
    assert_equal(content, int8(np.random.default_rng(0), (1, 5, 5, 2)))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (depthwise_file((1, 4, 4, 3), np.ones((1, 3, 3, 4), np.int8)), r"a multiple of 3"),
        (depthwise_file((1, 4, 4, 4), np.ones((2, 3, 3, 4), np.int8)), r"\(2, 3, 3, 4\) are not of shape \(1,"),
        (depthwise_file((1, 4, 4, 4), np.ones((1, 3, 3, 4), np.int8), w_scale=[0.1] * 4, axis=0), "axis 0, not 3"),
        (depthwise_file((1, 4, 4, 4), np.ones((1, 3, 3, 4), np.int8), strides=(1, 1), activation=4), "activation 4"),
    ],
)  # fmt: skip
def test_what_is_not_covered_is_named(content: bytes, what: str) -> None:
    with pytest.raises(TargetError, match=what) as caught:
        build_image(parse_tflite(content), "plain")
    assert "DEPTHWISE_CONV_2D (node 0)" in str(caught.value)
