"""The squared error on a board equals its definition to the bit, and the mean squared difference of the real values."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.compile.integer.image import Image, write_image
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records.scores import SquaredError as Record
from edge_ad.compile.integer.squared_error import emit, squared_error
from edge_ad.errors import EngineError
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.firmware_bridge.port_spec import PortSpec
from edge_ad.runtime.integer.squared_error import SquaredError


def image_of(a: PortSpec, b: PortSpec, operator: SquaredError, result: PortSpec) -> Image:
    builder = Builder("plain")
    x, y = builder.input(a), builder.input(b)
    builder.output(result, emit(builder, operator, x, y, a.size))
    return write_image(builder.program)


def on_board(image: Image, *values: np.ndarray) -> np.ndarray:
    return HostModel(image.content, inputs=image.inputs, outputs=image.outputs).infer(list(values))[0]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 3000), st.floats(-18, 6), st.floats(-12, 12), st.integers(-128, 127), st.integers(-128, 127),
    st.sampled_from(["noise", "near", "ends", "equal"]), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_any_scales_and_values(
    n: int, scale: float, ratio: float, a_zero: int, b_zero: int, kind: str, seed: int
) -> None:
    a = PortSpec((1, n), "int8", 2.0**scale, a_zero)
    b = PortSpec((1, n), "int8", 2.0 ** (scale + ratio), b_zero)
    rng = np.random.default_rng(seed)
    x, y = rng.integers(-128, 128, (2, 1, n)).astype(np.int8)
    if kind == "near":
        y = b.quantize(a.dequantize(x) + rng.normal(0, a.scale, (1, n)))
    elif kind == "ends":
        x, y = np.full((1, n), 127, np.int8), np.full((1, n), -128, np.int8)
    elif kind == "equal":
        x, y = np.full((1, n), a_zero, np.int8), np.full((1, n), b_zero, np.int8)
    operator, result = squared_error(a, b)
    score = operator(x, y)
    np.testing.assert_array_equal(on_board(image_of(a, b, operator, result), x, y), score)
    exact = (
        sum(
            ((int(p) - a_zero) * Fraction(a.scale) - (int(q) - b_zero) * Fraction(b.scale)) ** 2
            for p, q in zip(x.ravel(), y.ravel(), strict=True)
        )
        / n
    )
    largest = 255 * (a.scale + b.scale)
    # A scale is known to 2^-15 of the larger one, and the last step of the result is half a unit.
    allowed = 2 * float(exact) ** 0.5 * largest * 2.0**-15 + (largest * 2.0**-15) ** 2 + 0.5 * result.scale
    assert abs(int(score[0, 0]) * result.scale - float(exact)) <= allowed


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 5000), st.floats(-14, -8), st.floats(1, 9), st.integers(-128, 127),
    st.sampled_from(["noise", "ends"]), st.booleans(), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_an_int16_tensor_keeps_what_its_own_grid_knows(
    n: int, scale: float, ratio: float, b_zero: int, kind: str, both: bool, seed: int
) -> None:
    a = PortSpec((1, n), "int16", 2.0**scale)
    b = PortSpec((1, n), "int8", 2.0 ** (scale + ratio), b_zero)
    if both:
        b, b_zero = PortSpec((1, n), "int16", b.scale / 256), 0
    rng = np.random.default_rng(seed)
    most = 2**15 if both else 2**7
    x, y = (
        rng.integers(-(2**15), 2**15, (1, n)).astype(np.int16),
        rng.integers(-most, most, (1, n)).astype(b.dtype),
    )
    if kind == "ends":
        x, y = np.full((1, n), -(2**15), np.int16), np.full((1, n), most - 1, b.dtype)
    operator, result = squared_error(a, b)
    score = operator(x, y)
    np.testing.assert_array_equal(on_board(image_of(a, b, operator, result), x, y), score)
    exact = np.square(a.scale * x.astype(np.float64) - b.scale * (y.astype(np.float64) - b_zero)).mean()
    assert score[0, 0] < 2**31 - 1
    assert score[0, 0] * result.scale == pytest.approx(float(exact), rel=3e-3, abs=0.5 * result.scale)


def test_of_640_standardised_values_the_score_is_within_a_ten_thousandth() -> None:
    a, b = PortSpec((1, 640), "int16", 2.0**-11), PortSpec((1, 640), "int8", 0.0371, -7)
    rng = np.random.default_rng(3)
    x = rng.normal(0, 2048, (1, 640)).astype(np.int16)
    x[0, :5] = 30000  # far outside of what the INT8 tensor could hold
    y = b.quantize(rng.normal(0, 0.8, (1, 640)))
    operator, result = squared_error(a, b)
    exact = np.square(a.dequantize(x).astype(np.float64) - b.dequantize(y)).mean()
    assert operator(x, y)[0, 0] * result.scale == pytest.approx(float(exact), rel=1e-4)


def test_a_score_has_many_more_steps_than_eight_bits_and_never_saturates() -> None:
    a, b = PortSpec((1, 640), "int8", 0.04, -3), PortSpec((1, 640), "int8", 0.03, 5)
    operator, result = squared_error(a, b)
    worst = operator(np.full((1, 640), 127, np.int8), np.full((1, 640), -128, np.int8))[0, 0]
    assert 2**28 < worst < 2**31 - 1
    usual = 0.3 / result.scale
    assert usual > 2**18


def test_a_sum_that_ends_at_a_half_goes_up_and_one_too_large_saturates() -> None:
    a = PortSpec((1, 1))
    result = PortSpec((1, 1), "int32")
    for value, shift, wanted in ((3, 1, 5), (1, 1, 1), (1, 2, 0), (2, 3, 1), (127, 0, 127**2)):
        operator = SquaredError((0, 0), (1, 1), shift)
        x, y = np.array([[value]], np.int8), np.zeros((1, 1), np.int8)
        assert operator(x, y)[0, 0] == on_board(image_of(a, a, operator, result), x, y)[0, 0] == wanted
    operator = SquaredError((0, 0), (1 << 20, 0), 0)
    x = np.array([[-128]], np.int8)
    assert operator(x, x)[0, 0] == on_board(image_of(a, a, operator, result), x, x)[0, 0] == 2**31 - 1


@pytest.mark.parametrize(
    "wrong",
    [{"count": 0}, {"count": 64}, {"count": -1}, {"shift": -1}, {"shift": 63}, {"a_zero": 128}, {"b_zero": -129},
     {"a_multiplier": -1}, {"b_multiplier": (1 << 20) + 1}, {"output": None}, {"a": None}, {"wide": 3},
     {"wide": 2, "b_zero": 1}, {"wide": 2, "count": 32}, {"wide": 2, "b_multiplier": 1 << 16}, {"wide": -1},
     {"wide": 1, "a_zero": 1}, {"wide": 1, "count": 32}, {"wide": 1, "a_multiplier": 1 << 16}],
)  # fmt: skip
def test_a_record_that_could_read_write_or_overflow_is_refused(wrong: dict) -> None:
    builder = Builder("plain")
    x, y = builder.input(PortSpec((1, 16))), builder.input(PortSpec((1, 16)))
    out = builder.buffer(4)
    fields = {"a": x, "b": y, "output": out, "count": 16, "a_zero": 0, "b_zero": 0, "a_multiplier": 1,
              "b_multiplier": 1, "shift": 0, "wide": 0}  # fmt: skip
    builder.step(Record(**{**fields, **wrong}), reads=[x, y], writes=[out])
    builder.output(PortSpec((1, 1), "int32"), out)
    content = write_image(builder.program).content
    with pytest.raises(EngineError, match="damaged"):
        HostModel(content)


def test_a_sum_of_more_than_63_bits_is_refused() -> None:
    n = 1 << 12
    builder = Builder("plain")
    x, out = builder.input(PortSpec((1, n))), builder.buffer(4)
    most = 1 << 20
    record = Record(
        a=x,
        b=x,
        output=out,
        count=n,
        a_zero=0,
        b_zero=0,
        a_multiplier=most,
        b_multiplier=most,
        shift=0,
        wide=0,
    )
    builder.step(record, reads=[x], writes=[out])
    builder.output(PortSpec((1, 1), "int32"), out)
    with pytest.raises(EngineError, match="damaged"):
        HostModel(write_image(builder.program).content)
