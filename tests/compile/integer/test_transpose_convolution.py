"""TRANSPOSE_CONV equals LiteRT's reference kernel to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_maker import Maker, reference

from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.operators.convolution import SAME, VALID
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.errors import TargetError
from edge_ad.firmware_bridge.host_library import HostModel


def transpose_file(
    x_shape, weights, size, *, x_scale=0.1, x_zero=0, w_scale=0.02, bias=None, y_scale=0.1, y_zero=0, kind=SAME,
    strides=(1, 1), activation=0, wanted=None, constant=True,
) -> bytes:  # fmt: skip
    """size: rows and columns of the output. wanted: the output's shape as the operator's input has it."""
    m = Maker()
    x = m.tensor(x_shape, x_scale, x_zero)
    w = m.tensor(weights.shape, w_scale, 0, data=weights)
    y_shape = (x_shape[0], *size, len(weights))
    shape = m.tensor((4,), dtype="INT32", data=np.array(wanted or y_shape, np.int32)) if constant else x
    inputs = [shape, w, x]
    if bias is not None:
        scale = np.float32(x_scale) * np.asarray(w_scale, np.float32)
        inputs.append(m.tensor(bias.shape, scale, 0, dtype="INT32", data=bias.astype(np.int32)))
    y = m.tensor(y_shape, y_scale, y_zero)
    m.operator("TRANSPOSE_CONV", inputs, [y], "TransposeConvOptions", 4, padding=kind, strideH=strides[0],
               strideW=strides[1], fusedActivationFunction=activation)  # fmt: skip
    return m.data([x], [y])


def assert_equal(content: bytes, values: np.ndarray) -> None:
    image = build_image(parse_tflite(content), "plain")
    model = HostModel(image.content, image.plan.size)
    np.testing.assert_array_equal(model.infer([values])[0], reference(content, [values])[0].ravel())


def int8(rng: np.random.Generator, shape: tuple[int, ...], low: int = -128) -> np.ndarray:
    return rng.integers(low, 128, shape).astype(np.int8)


@st.composite
def geometry(draw: st.DrawFn) -> dict[str, object]:
    """All output sizes that LiteRT takes: a convolution with these options leads from them back to the input."""
    small = st.integers(1, 5)
    kernel, strides = (draw(st.tuples(small, small)) for _ in range(2))
    kind = draw(st.sampled_from([SAME, VALID]))
    rows = [draw(st.integers(1, 6)) for _ in range(2)]
    least = [(n - 1) * s + (1 if kind == SAME else k) for n, k, s in zip(rows, kernel, strides, strict=True)]
    size = [n + draw(st.integers(0, s - 1)) for n, s in zip(least, strides, strict=True)]
    return {
        "x_shape": (draw(st.integers(1, 2)), *rows, draw(st.integers(1, 9))),
        "w_shape": (draw(st.integers(1, 9)), *kernel), "size": size, "kind": kind, "strides": strides,
        "activation": draw(st.integers(0, 3)),
    }  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(geometry(), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_any_geometry_and_scales(
    shape: dict, per_channel: bool, biased: bool, halves: bool, seed: int
) -> None:
    """halves: scales are powers of two, so that sums lie half way between outputs."""
    rng = np.random.default_rng(seed)
    weights = int8(rng, (*shape.pop("w_shape"), shape["x_shape"][3]), -127)
    channels = len(weights) if per_channel else 1
    if halves:
        x_scale, w_scale = 2.0 ** rng.integers(-6, 1), 2.0 ** rng.integers(-6, 1, channels)
        y_scale = x_scale * w_scale.max() * 2.0 ** rng.integers(0, 10)
    else:
        x_scale, w_scale = 10.0 ** rng.uniform(-3, 0), 10.0 ** rng.uniform(-3, 0, channels)
        y_scale = x_scale * w_scale.max() * 10.0 ** rng.uniform(0, 3)
    content = transpose_file(
        weights=weights, x_scale=x_scale, x_zero=rng.integers(-128, 128), w_scale=w_scale, y_scale=y_scale,
        y_zero=rng.integers(-128, 128), bias=rng.integers(-9000, 9000, len(weights)) if biased else None, **shape,
    )  # fmt: skip
    assert_equal(content, int8(rng, shape["x_shape"]))


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([SAME, VALID]), st.integers(0, 2**32 - 1))
def test_layers_of_real_size(kind: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = int8(rng, (10, 3, 3, 24), -127)
    size = (32, 24) if kind == SAME else (33, 25)
    content = transpose_file(
        (1, 16, 12, 24), weights, size, x_zero=-128, w_scale=rng.uniform(0.01, 0.02, 10), y_scale=2.0, y_zero=-128,
        bias=rng.integers(-9000, 9000, 10), kind=kind, strides=(2, 2), activation=1,
    )  # fmt: skip
    assert_equal(content, int8(rng, (1, 16, 12, 24)))


def test_multiply_accumulates_are_those_of_its_inputs() -> None:
    content = transpose_file((1, 4, 4, 3), np.ones((5, 3, 3, 3), np.int8), (8, 8), strides=(2, 2))
    assert build_image(parse_tflite(content), "plain").macs == 16 * 5 * 9 * 3


ONES = np.ones((5, 3, 3, 3), np.int8)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (transpose_file((1, 4, 4, 3), ONES, (8, 8), constant=False), "output shape is computed"),
        (transpose_file((1, 4, 4, 3), ONES, (8, 8), wanted=(1, 8, 7, 5)), r"asked for as \[1, 8, 7, 5\]"),
        (transpose_file((1, 4, 4, 2), ONES, (8, 8)), "2 input channels"),
        (
            transpose_file((1, 4, 4, 3), ONES, (8, 9), strides=(2, 2)),
            r"takes an input of \(4, 5\), not \(4, 4\)",
        ),
        (transpose_file((1, 4, 4, 3), ONES, (8, 8), strides=(0, 1)), "cannot be"),
        (transpose_file((1, 4, 4, 3), ONES, (8, 8), strides=(2, 2), activation=4), "activation 4"),
        (transpose_file((1, 4, 4, 3), ONES, (8, 8), strides=(2, 2), bias=np.zeros(4)), "4 values for 5"),
        (transpose_file((1, 1, 4, 3), ONES, (1, 4), strides=(2**24 + 1, 1)), "too large for a board"),
    ],
)
def test_what_is_not_covered_is_named(content: bytes, what: str) -> None:
    with pytest.raises(TargetError, match=what) as caught:
        build_image(parse_tflite(content), "plain")
    assert "TRANSPOSE_CONV (node 0)" in str(caught.value)
