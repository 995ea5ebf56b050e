"""Operators that work value by value equal LiteRT's reference kernels to the bit, for all 256 values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_maker import Maker, reference

from edge_ad.compile.integer.image import Image, build_image
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.errors import ModelError, TargetError
from edge_ad.firmware_bridge.host_library import HostModel

EVERY = np.arange(-128, 128).astype(np.int8)
OPTIONS = {"LEAKY_RELU": "LeakyReluOptions", "GELU": "GeluOptions"}
KINDS = ["RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "HARD_SWISH", "LOGISTIC", "TANH", "GELU", "ABS",
         "EXP", "QUANTIZE"]  # fmt: skip


def unary_file(kind: str, x: tuple[float, int], y: tuple[float, int], shape=(2, 8, 16), **values) -> bytes:
    m = Maker()
    source, output = m.tensor(shape, *x), m.tensor(shape, *y)
    m.operator(kind, [source], [output], OPTIONS.get(kind), 1, **values)
    return m.data([source], [output])


def compiled(content: bytes) -> tuple[Image, HostModel]:
    image = build_image(parse_tflite(content), "plain")
    return image, HostModel(image.content, image.plan.size)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 2**32 - 1))
def test_equals_the_reference(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale, zero = 10.0 ** rng.uniform(-3, 0), int(rng.integers(-128, 128))
    output = scale * rng.uniform(0.8, 2), int(rng.integers(-128, 128))
    if kind in ("LOGISTIC", "TANH"):
        output = (1 / 256, -128) if kind == "LOGISTIC" else (1 / 128, 0)
    elif rng.random() < 0.3:
        output = scale, zero
    values = {}
    if kind == "LEAKY_RELU":
        values["alpha"] = float(rng.uniform(-0.5, 1.5))
    if kind == "GELU":
        values["approximate"] = bool(rng.random() < 0.5)
    content = unary_file(kind, (scale, zero), output, **values)
    _, model = compiled(content)
    np.testing.assert_array_equal(model.infer([EVERY])[0], reference(content, [EVERY])[0].ravel())


@pytest.mark.parametrize(
    ("kind", "function", "x", "y", "values"),
    [
        ("RELU6", lambda v: min(max(v, 0), 6), (0.07, -20), (0.03, -100), {}),
        ("LEAKY_RELU", lambda v: v if v > 0 else 0.25 * v, (0.07, -20), (0.06, -60), {"alpha": 0.25}),
        ("HARD_SWISH", lambda v: v * min(max(v + 3, 0), 6) / 6, (0.07, -20), (0.06, -100), {}),
        ("LOGISTIC", lambda v: 1 / (1 + math.exp(-v)), (0.07, -20), (1 / 256, -128), {}),
        ("TANH", math.tanh, (0.03, -20), (1 / 128, 0), {}),
        ("GELU", lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2, (0.05, -20), (0.05, -120), {}),
    ],
)
def test_is_within_one_step_of_the_function(kind, function, x, y, values) -> None:
    _, model = compiled(unary_file(kind, x, y, **values))
    exact = np.array([function(x[0] * (int(v) - x[1])) for v in EVERY]) / y[0] + y[1]
    assert np.abs(model.infer([EVERY])[0] - exact.clip(-128, 127)).max() < 1.01


def test_runs_in_place() -> None:
    image, _ = compiled(unary_file("LOGISTIC", (0.1, 0), (1 / 256, -128)))
    assert image.plan.size == 256


def test_equal_tables_are_kept_once() -> None:
    m = Maker()
    a, b, c, d = (m.tensor((1, 4000), 0.1, 0) for _ in range(4))
    for source, output in ((a, b), (b, c), (c, d)):
        m.operator("RELU", [source], [output])
    image, _ = compiled(m.data([a], [d]))
    assert len(image.program.steps) == 3
    assert len(image.program.constants) == 256


def test_what_changes_no_value_takes_no_step() -> None:
    content = unary_file("RELU", (0.1, -128), (0.1, -128))
    image, model = compiled(content)
    assert image.program.steps == []
    np.testing.assert_array_equal(model.infer([EVERY])[0], EVERY)


def test_the_reference_kernels_own_refusal_is_passed_on() -> None:
    with pytest.raises(TargetError, match=r"LOGISTIC \(node 0\).*scale == 1"):
        compiled(unary_file("LOGISTIC", (0.1, 0), (0.1, 0)))


def test_other_shapes_are_refused() -> None:
    m = Maker()
    x, y = m.tensor((1, 4), 0.1, 0), m.tensor((1, 5), 0.1, 0)
    m.operator("RELU", [x], [y])
    with pytest.raises(TargetError, match=r"RELU \(node 0\).*\(1, 4\) to \(1, 5\)"):
        compiled(m.data([x], [y]))


def test_a_constant_input_is_refused() -> None:
    m = Maker()
    x, y = m.tensor((1, 4), 0.1, 0, data=np.zeros(4, np.int8)), m.tensor((1, 4), 0.1, 0)
    z, out = m.tensor((1, 4), 0.1, 0), m.tensor((1, 4), 0.1, 0)
    m.operator("RELU", [x], [y])
    m.operator("ADD", [y, z], [out], "AddOptions")
    with pytest.raises(TargetError, match=r"RELU \(node 0\).*constant"):
        compiled(m.data([z], [out]))


@pytest.mark.parametrize("kind", ["DEQUANTIZE", "QUANTIZE"])
def test_a_way_to_or_from_float_is_refused_with_a_hint(kind: str) -> None:
    m = Maker()
    q, f = m.tensor((1, 4), 0.1, 0), m.tensor((1, 4), dtype="FLOAT32")
    pair = (q, f) if kind == "DEQUANTIZE" else (f, q)
    m.operator(kind, [pair[0]], [pair[1]], kind.title() + "Options")
    with pytest.raises(ModelError, match=rf"{kind} \(node 0\) works on float32.*full INT8"):
        compiled(m.data([pair[0]], [pair[1]]))


@pytest.mark.parametrize("kind", ["RELU", "ADD", "MEAN", "SOFTMAX"])
def test_a_wrong_number_of_inputs_is_refused(kind: str) -> None:
    m = Maker()
    x, y = m.tensor((1, 4), 0.1, 0), m.tensor((1, 4), 0.1, 0)
    m.operator(kind, [x, x, -1], [y])
    with pytest.raises(TargetError, match=rf"{kind} \(node 0\).*not 3 to 1"):
        compiled(m.data([x], [y]))
