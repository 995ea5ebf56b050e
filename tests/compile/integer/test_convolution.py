"""CONV_2D equals LiteRT's reference kernel to the bit."""

from __future__ import annotations

import struct
import zlib
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_maker import Maker, reference

from edge_ad.compile.integer.image import Image, build_image
from edge_ad.compile.integer.operators.convolution import SAME, VALID, padding
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.compile.integer.records import Convolution, Depthwise
from edge_ad.errors import EngineError, TargetError
from edge_ad.firmware_bridge.host_library import HostModel

RELU6 = 3


def conv_file(
    x_shape, weights, *, x_scale=0.1, x_zero=0, w_scale=0.02, bias=None, y_scale=0.1, y_zero=0, y_shape=None,
    kind=SAME, strides=(1, 1), dilations=(1, 1), activation=0,
) -> bytes:  # fmt: skip
    """bias: values, or None for an operator without one."""
    m = Maker()
    x = m.tensor(x_shape, x_scale, x_zero)
    inputs = [x, m.tensor(weights.shape, w_scale, 0, data=weights)]
    if bias is not None:
        scale = np.float32(x_scale) * np.asarray(w_scale, np.float32)
        inputs.append(m.tensor(bias.shape, scale, 0, dtype="INT32", data=bias.astype(np.int32)))
    if y_shape is None:
        sizes = zip(x_shape[1:3], weights.shape[1:3], strides, dilations, strict=True)
        y_shape = (x_shape[0], *(padding(kind, *size)[0] for size in sizes), weights.shape[0])
    y = m.tensor(y_shape, y_scale, y_zero)
    m.operator(
        "CONV_2D", inputs, [y], "Conv2DOptions", 3, padding=kind, strideH=strides[0], strideW=strides[1],
        dilationHFactor=dilations[0], dilationWFactor=dilations[1], fusedActivationFunction=activation,
    )  # fmt: skip
    return m.data([x], [y])


def compiled(content: bytes) -> tuple[Image, HostModel]:
    image = build_image(parse_tflite(content), "plain")
    return image, HostModel(image.content, image.plan.size)


def assert_equal(content: bytes, values: np.ndarray) -> None:
    np.testing.assert_array_equal(
        compiled(content)[1].infer([values])[0], reference(content, [values])[0].ravel()
    )


def int8(rng: np.random.Generator, shape: tuple[int, ...], low: int = -128) -> np.ndarray:
    return rng.integers(low, 128, shape).astype(np.int8)


@st.composite
def geometry(draw: st.DrawFn) -> dict[str, object]:
    """Also kernels larger than the input, strides larger than the kernel, and windows wholly in the padding."""
    small = st.integers(1, 4)
    kernel, strides, dilations = (draw(st.tuples(small, small)) for _ in range(3))
    kind = draw(st.sampled_from([SAME, VALID]))
    size = [draw(st.integers(1, 9)) for _ in range(2)]
    if kind == VALID:
        size = [max(n, (k - 1) * d + 1) for n, k, d in zip(size, kernel, dilations, strict=True)]
    depth, groups = draw(st.integers(1, 9)), draw(st.sampled_from([1, 1, 1, 2, 3]))
    return {
        "x_shape": (draw(st.integers(1, 2)), *size, depth * groups),
        "w_shape": (draw(st.integers(1, 9)) * groups, *kernel, depth),
        "kind": kind, "strides": strides, "dilations": dilations, "activation": draw(st.integers(0, 3)),
    }  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(geometry(), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_any_geometry_and_scales(shape: dict, per_channel: bool, halves: bool, seed: int) -> None:
    """halves: scales are powers of two, so that sums lie half way between outputs."""
    rng = np.random.default_rng(seed)
    weights = int8(rng, shape.pop("w_shape"), -127)
    channels = len(weights) if per_channel else 1
    if halves:
        x_scale, w_scale = 2.0 ** rng.integers(-6, 1), 2.0 ** rng.integers(-6, 1, channels)
        y_scale = x_scale * w_scale.max() * 2.0 ** rng.integers(0, 11)
    else:
        x_scale, w_scale = 10.0 ** rng.uniform(-3, 0), 10.0 ** rng.uniform(-3, 0, channels)
        y_scale = x_scale * w_scale.max() * 10.0 ** rng.uniform(0, 3.5)
    content = conv_file(
        weights=weights, x_scale=x_scale, x_zero=rng.integers(-128, 128), w_scale=w_scale, y_scale=y_scale,
        y_zero=rng.integers(-128, 128), bias=rng.integers(-20000, 20000, len(weights)), **shape,
    )  # fmt: skip
    assert_equal(content, int8(rng, shape["x_shape"]))


@settings(max_examples=40, deadline=None)
@given(st.booleans(), st.integers(0, 2**32 - 1))
def test_sums_next_to_each_step_of_the_output(per_channel: bool, seed: int) -> None:
    """Where a multiplier of float32 scales, or one rounding for two, gives other results."""
    rng = np.random.default_rng(seed)
    x_scale, w_scale = (np.float32(rng.uniform(0.001, 1)) for _ in range(2))
    y_scale = np.float32(x_scale * w_scale * 2.0 ** rng.uniform(-2, 22))
    ratio = float(x_scale) * float(w_scale) / float(y_scale)
    near = np.rint((np.arange(-128, 128) + 0.5) / ratio).astype(np.int64)
    bias = np.unique(near[:, None] + np.arange(-2, 3))
    scales = np.full(len(bias), w_scale) if per_channel else w_scale
    weights = np.ones((len(bias), 1, 1, 1), np.int8)
    content = conv_file((1, 1, 1, 1), weights, x_scale=x_scale, w_scale=scales, bias=bias, y_scale=y_scale)
    assert_equal(content, np.zeros((1, 1, 1, 1), np.int8))


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([SAME, VALID]), st.integers(0, 2**32 - 1))
def test_layers_of_real_size(kind: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = int8(rng, (18, 3, 3, 16), -127)
    content = conv_file(
        (1, 25, 13, 16), weights, x_zero=-9, w_scale=rng.uniform(0.01, 0.02, 18), y_scale=2.0, y_zero=-128,
        bias=rng.integers(-20000, 20000, 18), kind=kind, strides=(2, 1), activation=RELU6,
    )  # fmt: skip
    assert_equal(content, int8(rng, (1, 25, 13, 16)))


def test_a_bias_that_leaves_32_bits_when_the_zero_point_is_folded_in() -> None:
    weights = np.full((1, 2, 2, 3), 127, np.int8)
    content = conv_file(
        (1, 2, 2, 3), weights, x_zero=-128, bias=np.array([2**31 - 1]), y_scale=1e5, kind=VALID
    )
    assert_equal(content, np.full((1, 2, 2, 3), -128, np.int8))


def test_no_bias_is_a_bias_of_zeros() -> None:
    """LiteRT itself runs no CONV_2D without a bias."""
    rng = np.random.default_rng(0)
    weights, values = int8(rng, (5, 3, 3, 4)), int8(rng, (1, 6, 6, 4))
    without = compiled(conv_file((1, 6, 6, 4), weights, x_zero=7, y_scale=3.0))[1].infer([values])[0]
    zeros = conv_file((1, 6, 6, 4), weights, x_zero=7, y_scale=3.0, bias=np.zeros(5))
    np.testing.assert_array_equal(without, reference(zeros, [values])[0].ravel())


@pytest.mark.parametrize(
    ("in_c", "weights", "record", "macs"),
    [(6, (12, 3, 3, 1), Depthwise, 2700), (1, (12, 3, 3, 1), Convolution, 2700), (6, (12, 3, 3, 3), Convolution, 8100)],
    ids=["groups of one channel", "one channel", "groups"],
)  # fmt: skip
def test_what_runs_it(in_c: int, weights: tuple[int, ...], record: type, macs: int) -> None:
    content = conv_file(
        (1, 10, 10, in_c), np.ones(weights, np.int8), bias=np.zeros(12), strides=(2, 2), y_scale=9
    )
    image, _ = compiled(content)
    assert [type(step.record) for step in image.program.steps] == [record]
    assert image.macs == macs
    assert_equal(content, int8(np.random.default_rng(0), (1, 10, 10, in_c)))


def _file(y_shape=None, **weights) -> bytes:
    """A 1x1 convolution of 4 to 4 channels whose weights have these options."""
    m = Maker()
    x = m.tensor((1, 4, 4, 4), 0.1, 0)
    options = {
        "shape": (4, 1, 1, 4),
        "scale": 0.1,
        "data": np.ones(weights.get("shape", (4, 1, 1, 4)), np.int8),
    }
    options |= weights
    w = m.tensor(options.pop("shape"), options.pop("scale"), options.pop("zero", 0), **options)
    y = m.tensor(y_shape or (1, 4, 4, 4), 0.1, 0)
    m.operator("CONV_2D", [x, w], [y], "Conv2DOptions", 3, padding=SAME, strideH=1, strideW=1)
    return m.data([x] if options["data"] is not None else [x, w], [y])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (_file(data=None), "weights are computed"),
        (_file(dtype="INT16", data=np.ones((4, 1, 1, 4), np.int16)), "int16"),
        (_file(dtype="FLOAT32", data=np.ones((4, 1, 1, 4), np.float32)), "float32"),
        (_file(zero=3), "zero point"),
        (_file(shape=(4, 4)), "4 dimensions"),
        (_file(shape=(4, 1, 1, 3)), "into groups"),
        (_file(shape=(3, 1, 1, 2)), "into groups"),
        (_file(scale=[0.1] * 3), "3 scales for 4 channels"),
        (_file(scale=[0.1] * 4, axis=3), "axis 3"),
        (_file(scale=float("nan")), "not finite"),
        (_file(y_shape=(1, 4, 3, 4)), r"\(1, 4, 4, 4\) by its options, and \(1, 4, 3, 4\)"),
        (conv_file((1, 4, 4, 1), np.ones((1, 1, 1, 1), np.int8), activation=4), "fused activation 4"),
        (conv_file((1, 4, 4, 1), np.ones((1, 1, 1, 1), np.int8), dilations=(0, 1)), "cannot be"),
        (
            conv_file((1, 4, 4, 1), np.ones((2, 1, 1, 1), np.int8), bias=np.zeros(3)),
            "bias has 3 values for 2",
        ),
        (conv_file((1, 2**25, 1, 1), np.ones((1, 1, 1, 1), np.int8)), "too large"),
    ],
)
def test_what_is_not_covered_is_named(content: bytes, what: str) -> None:
    with pytest.raises(TargetError, match=what) as caught:
        build_image(parse_tflite(content), "plain")
    assert "CONV_2D (node 0)" in str(caught.value)


def patched(image: bytes, record: type, field: str, value: int) -> bytes:
    """The image with another value in one word of its first record, and the CRC that belongs to it."""
    (steps,) = struct.unpack_from("<I", image, 20)
    (at,) = struct.unpack_from("<I", image, steps + 4)
    at += 4 * [f.name for f in fields(record)].index(field)
    body = image[:at] + struct.pack("<I", value & 0xFFFFFFFF) + image[at + 4 :]
    return body[:12] + struct.pack("<I", zlib.crc32(body[16:])) + body[16:]


BIG = 2**31 - 1


@pytest.mark.parametrize("kernel", [(5, 3, 3, 4), (8, 3, 3, 1)], ids=["convolution", "depthwise"])
@pytest.mark.parametrize(
    ("field", "value"),
    [(name, value) for name in ("batch", "in_h", "in_w", "in_c", "out_h", "out_w", "out_c", "k_h", "k_w", "groups")
     for value in (0, -1, BIG, 2**20)]
    + [(name, value) for name in ("stride_h", "stride_w", "dilation_h", "dilation_w") for value in (0, -1, BIG)]
    + [(name, value) for name in ("pad_top", "pad_left") for value in (-1, BIG)]
    + [(name, 2**20) for name in ("input", "output", "channels")]
    + [("weights", 2**31 + 2**20), ("channels", 64), ("channels", 2**31 + 65), ("output", 2**31 + 64)]
    + [("input_zero", 128), ("low", -129), ("high", 128), ("high", -128)],
)  # fmt: skip
def test_a_damaged_record_is_refused(kernel: tuple[int, ...], field: str, value: int) -> None:
    content = conv_file((1, 6, 6, 4 if kernel[3] == 4 else 8), np.ones(kernel, np.int8), bias=np.zeros(kernel[0]),
                        activation=1, y_scale=9.0)  # fmt: skip
    image, _ = compiled(content)
    record = type(image.program.steps[0].record)
    with pytest.raises(EngineError, match="damaged"):
        HostModel(patched(image.content, record, field, value), image.plan.size)
