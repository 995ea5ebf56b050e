"""A convolution to int16: C equals NumPy to the bit; NumPy is the exact sum, rounded; INT8 is what it was."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from int16_convolutions import random_case
from own_operators import run_whole_and_striped

from edge_ad.compile.integer.image import build_image, write_image
from edge_ad.compile.integer.records import Stretch
from edge_ad.compile.integer.records.maps import ConvolutionInt16
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.errors import EngineError
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.runtime.integer.convolution import scale_twice


@pytest.mark.parametrize("seed", range(40))
def test_the_kernel_is_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = random_case(rng)
    for values in (rng.integers(-128, 128, case.shape), rng.choice([-128, 127], case.shape)):
        (found,) = run_whole_and_striped(case.graph, [values.astype(np.int8)], int(rng.integers(2, 6)))
        assert found.dtype == np.int16
        np.testing.assert_array_equal(found[0], case.expected(values))


def test_the_definition_is_the_sum_of_products_rounded() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        case = random_case(rng)
        values = rng.integers(-128, 128, case.shape).astype(np.int64)
        found = case.expected(values)
        y, x, c = (int(rng.integers(n)) for n in found.shape)
        k, s = case.weights.shape[1], case.stride
        window = values[0, y * s : y * s + k, x * s : x * s + k] - case.zero
        total = int((window * case.weights[c]).sum() + case.bias[c])
        multiplier, shift = quantize_multiplier(float(case.scales[c]))
        exact = Fraction(total * multiplier) * Fraction(2) ** (shift - 31)
        low, high = case.limits
        assert abs(min(max(exact, low), high) - int(found[y, x, c])) <= Fraction(3, 4)


def test_products_are_rounded_twice_as_litert_rounds_them() -> None:
    """Halves of the product go up, halves of the shift away from zero."""
    half = 1 << 30
    cases = [(3, half, 0, 2), (-3, half, 0, -1), (5, half, -1, 2), (-5, half, -1, -1), (1, half, 3, 4),
             (7, half, -31, 0)]  # fmt: skip
    for x, multiplier, shift, expected in cases:
        assert int(scale_twice(np.int64(x), np.int64(multiplier), np.int64(shift))) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [("low", -32768), ("high", 32768), ("output_zero", 200), ("out_c", 4096), ("output", 1)],
)
def test_a_damaged_record_is_refused(field: str, value: int) -> None:
    case = random_case(np.random.default_rng(3))
    image = build_image(case.graph, "plain", stripes=False)
    step = image.program.steps[0]
    assert isinstance(step.record, ConvolutionInt16)
    HostModel(image.content)
    odd = Stretch(step.record.output, value, 2)
    changed = {field: odd if field == "output" else value}
    image.program.steps[0] = replace(step, record=replace(step.record, **changed))
    with pytest.raises(EngineError, match="damaged"):
        HostModel(write_image(image.program).content)
