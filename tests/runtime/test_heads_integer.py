"""Heads of INT8 networks: float of the dequantized values, the same on every machine."""

from __future__ import annotations

import numpy as np
import pytest

from edge_ad.bundle.manifest import HeadSpec, PreprocessSpec
from edge_ad.errors import DataError, SchemaError
from edge_ad.runtime.heads import INPUT, evaluate
from edge_ad.runtime.preprocess import preprocess, quantize_spec

PARAMS = {"output": "y", "scale": 0.25, "zero_point": -3, "input_scale": 0.5, "input_zero_point": 10}


def test_mse_is_of_the_dequantized_values() -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-128, 128, (5, 40)).astype(np.int8) for _ in range(2))
    wanted = ((0.5 * (x.astype(float) - 10) - 0.25 * (y.astype(float) + 3)) ** 2).mean(1)
    scores = evaluate(HeadSpec(name="mse", params=PARAMS), {INPUT: x, "y": y}).scores
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, wanted, rtol=1e-6)


def test_mse_of_what_is_reproduced_exactly_is_zero() -> None:
    params = PARAMS | {"scale": 0.1, "input_scale": 0.1, "zero_point": 7, "input_zero_point": 7}
    x = np.random.default_rng(1).integers(-128, 128, (2, 8, 8, 3)).astype(np.int8)
    assert evaluate(HeadSpec(name="mse", params=params), {INPUT: x, "y": x}).scores.tolist() == [0.0, 0.0]


def test_value_and_max() -> None:
    one, many = np.array([[5], [-128]], np.int8), np.array([[[1, 7], [-3, 2]]], np.int8)
    value, largest = (HeadSpec(name=name, params=PARAMS) for name in ("value", "max"))
    assert evaluate(value, {"y": one}).scores.tolist() == [2.0, -31.25]
    assert evaluate(largest, {"y": many}).scores.tolist() == [2.5]
    with pytest.raises(SchemaError, match="has 4 values, not one"):
        evaluate(value, {"y": many})


def test_numbers_are_rounded_half_to_even_and_saturated() -> None:
    spec = quantize_spec((7,), 0.5, 1)
    values = np.array([0.0, 0.25, 0.75, -0.25, 1e9, -1e9, 0.5], np.float32)
    assert preprocess(spec, values).tolist() == [[1, 1, 3, 1, 127, -128, 2]]
    assert preprocess(spec, values).dtype == np.int8


def test_int8_is_taken_as_quantized_already() -> None:
    spec = quantize_spec((2, 2), 0.5, 1)
    raw = np.array([[1, -128], [127, 0]], np.int8)
    np.testing.assert_array_equal(preprocess(spec, raw), raw[None])


@pytest.mark.parametrize(
    "data",
    [np.zeros(3, np.float32), np.zeros((2, 2), object), np.full((2, 2), np.nan), np.zeros((2, 2), bool)],
)
def test_what_the_network_does_not_take_is_an_error_of_the_data(data: np.ndarray) -> None:
    with pytest.raises(DataError):
        preprocess(quantize_spec((2, 2), 0.5, 1), data)


def test_the_spec_survives_json() -> None:
    spec = quantize_spec((640,), float(np.float32(0.391)), 89)
    assert PreprocessSpec.model_validate_json(spec.model_dump_json()) == spec
