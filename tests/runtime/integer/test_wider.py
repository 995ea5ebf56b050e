"""INT8 to int16, and pooling of int16: C equals NumPy to the bit, whole and in stripes; NumPy is the exact mean."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from operator_images import operator_image, run
from own_operators import run_whole_and_striped

from edge_ad.compile.integer.draft import Draft
from edge_ad.compile.integer.operators.convolution import SAME, VALID
from edge_ad.compile.integer.records.wider import Pool16, Widen
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.errors import EngineError
from edge_ad.runtime.integer.wider import pool16, widen

EVERY = np.arange(-128, 128).astype(np.int8)


def _widened(fields: dict[str, int]):
    return operator_image(256, [512], lambda b, x, made: (Widen(x, made[0], **fields), []))


@pytest.mark.parametrize(
    ("multiplier", "shift", "zero"),
    [
        (*quantize_multiplier(r), z)
        for r, z in [(16.0, -128), (1.0, 0), (0.37, 5), (200.0, 127), (0.0, 3), (1e6, 0)]
    ]
    + [(2**31 - 1, 30, -128), (1, -31, 127)],
)
def test_widening_is_the_definition(multiplier: int, shift: int, zero: int) -> None:
    fields = {"size": 256, "multiplier": multiplier, "shift": shift, "zero": zero}
    (got,) = run(_widened(fields), EVERY, np.int16)
    np.testing.assert_array_equal(got, widen(EVERY, multiplier, shift, zero))


def test_a_power_of_two_loses_nothing() -> None:
    made = widen(EVERY, *quantize_multiplier(16.0), -7)
    np.testing.assert_array_equal(made, (EVERY.astype(np.int64) + 7) * 16)


@pytest.mark.parametrize(
    "wrong", [{"shift": 31}, {"shift": -32}, {"multiplier": -1}, {"zero": 128}, {"zero": -129}, {"size": 0},
              {"size": 257}],
)  # fmt: skip
def test_a_hostile_widening_is_refused(wrong: dict[str, int]) -> None:
    fields = {"size": 256, "multiplier": 1, "shift": 0, "zero": 0}

    def make(builder, source, made):
        return Widen(**{"input": source, "output": made[0], **fields, **wrong}), []

    with pytest.raises(EngineError, match="damaged"):
        run(operator_image(256, [512], make), EVERY, np.int16)


@pytest.mark.parametrize("seed", range(40))
def test_pooling_is_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    same, maximum = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    kernel, stride = (tuple(int(n) for n in rng.integers(1, 5, 2)) for _ in range(2))
    size, channels = np.array(rng.integers(4, 10, 2).tolist(), object), int(rng.integers(1, 5))
    out = tuple(int(n) for n in (-(-size // stride) if same else (size - kernel) // stride + 1))
    pads = tuple(
        max(0, (o - 1) * s + k - n) // 2 if same else 0
        for o, s, k, n in zip(out, stride, kernel, size, strict=True)
    )
    draft = Draft()
    x, y = draft.tensor((1, *size, channels), np.int16), draft.tensor((1, *out, channels), np.int16)
    draft.node("MAX_POOL_2D" if maximum else "AVERAGE_POOL_2D", [x], y, padding=SAME if same else VALID,
               strideH=stride[0], strideW=stride[1], filterHeight=kernel[0], filterWidth=kernel[1],
               fusedActivationFunction=0)  # fmt: skip
    values = rng.integers(-(2**15), 2**15, (1, *size, channels)) >> int(rng.integers(0, 14))
    values = values.astype(np.int16)
    (got,) = run_whole_and_striped(draft.graph([x], [y]), [values], int(rng.integers(2, 5)))
    expected = pool16(values[0], kernel, stride, pads, out, maximum=maximum)
    np.testing.assert_array_equal(got[0], expected)


def test_the_mean_is_exact_and_halves_go_away_from_zero() -> None:
    x = np.random.default_rng(0).integers(-5, 6, (8, 8, 3)).astype(np.int16)
    found = pool16(x, (2, 2), (2, 2), (0, 0), (4, 4), maximum=False)
    for row, column, c in np.ndindex(4, 4, 3):
        window = x[2 * row : 2 * row + 2, 2 * column : 2 * column + 2, c]
        exact = Fraction(int(window.sum()), 4)
        off = int(found[row, column, c]) - exact
        assert abs(off) <= Fraction(1, 2) and (abs(off) < Fraction(1, 2) or off * exact > 0)


@pytest.mark.parametrize(
    "wrong",
    [{"k_h": 0}, {"k_h": (1 << 14) + 1}, {"k_h": 1 << 8, "k_w": 1 << 8}, {"stride_w": 0},
     {"pad_top": 2}, {"out_h": 9},
     {"input": 1}, {"output": 1}, {"channels": 0}, {"channels": 3},
     {"batch": 2}],
)  # fmt: skip
def test_a_hostile_pool_is_refused(wrong: dict[str, int]) -> None:
    fields = {"maximum": 0, "batch": 1, "in_h": 4, "in_w": 4, "channels": 2, "out_h": 2, "out_w": 2, "k_h": 2,
              "k_w": 2, "stride_h": 2, "stride_w": 2, "pad_top": 0, "pad_left": 0, "low": 0, "high": 9}  # fmt: skip

    def make(builder, source, made):
        return Pool16(**{"input": source, "output": made[0], **fields, **wrong}), []

    with pytest.raises(EngineError, match="damaged"):
        run(operator_image(64, [16], make), np.zeros(32, np.int16), np.int16)
