"""Roots, reciprocals, logarithms and curves in integers, against exact ones."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.firmware_bridge.host_library import ENGINE
from edge_ad.runtime.integer.functions import (
    curve,
    curve_table,
    log2,
    logarithms,
    reciprocal,
    root,
    scale,
)


@given(st.integers(1, 2**64 - 1))
def test_a_root_has_31_bits_and_is_the_largest_below(x: int) -> None:
    s, t = root(x)
    assert 2**31 <= s < 2**32 and 0 <= t <= 31
    assert s * s <= x * 4**t < (s + 1) ** 2


@given(st.integers(1, 2**32 - 1))
def test_a_reciprocal_has_31_bits(x: int) -> None:
    m, t = reciprocal(x)
    assert 2**30 <= m <= 2**31
    assert abs(Fraction(m) * 2**t / 2**62 * x - 1) <= Fraction(1, 2**30)


@given(st.integers(1, 2**63 - 1))
def test_a_logarithm_is_a_little_too_small_at_most(x: int) -> None:
    exact = math.log2(x)
    assert -(2**-17) - 1e-12 <= exact - log2(x) / 2**16 <= 2**-13.5


def test_logarithms_rise_and_powers_of_two_are_exact() -> None:
    values = [log2(x) for x in range(1, 5000)]
    assert values == sorted(values)
    assert [log2(1 << k) for k in range(63)] == [k << 16 for k in range(63)]


def test_the_table_in_c_is_the_definition() -> None:
    source = (ENGINE / "kernels" / "functions.c").read_text()
    table = re.search(r"logarithms\[65\] = \{(.*?)\}", source, re.DOTALL)
    assert table is not None
    assert [int(v) for v in table[1].split(",") if v.strip()] == logarithms().tolist()


@given(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**30), 2**30),
    st.integers(-31, 30),
)
def test_a_scale_is_rounded_once_half_up(x: int, multiplier: int, shift: int) -> None:
    exact = Fraction(x * multiplier, 2**31) * Fraction(2) ** shift
    assert int(scale(np.int64(x), multiplier, shift)) == math.floor(exact + Fraction(1, 2))


@pytest.mark.parametrize("bits", [1, 6, 8, 14])
def test_a_curve_meets_its_table_and_is_linear_between(bits: int) -> None:
    rng = np.random.default_rng(bits)
    table = rng.integers(-(2**15), 2**15, 2 ** (16 - bits) + 1)
    places = np.arange(-(2**15), 2**15, 1 << bits)
    np.testing.assert_array_equal(curve(places, table, bits), table[:-1])
    x = np.arange(-(2**15), 2**15)
    exact = np.interp(x, np.append(places, 2**15), table)
    assert np.abs(curve(x, table, bits) - exact).max() <= 0.5


def test_a_sigmoid_by_its_curve() -> None:
    """257 places over -16 to 16: within 2^-12 of the function."""
    table = curve_table(lambda x: 1 / (1 + math.exp(-x)), 2.0**-11, 2.0**-15, 8)
    x = np.arange(-(2**15), 2**15)
    exact = 1 / (1 + np.exp(-x / 2**11))
    assert np.abs(curve(x, table, 8) / 2**15 - exact).max() < 2**-12
