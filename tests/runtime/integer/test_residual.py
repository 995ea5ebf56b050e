"""Layers with a 16-bit residual stream: C equals NumPy to the bit, and both are near floats."""

from __future__ import annotations

import numpy as np
import pytest
from operator_images import operator_image, run

from edge_ad.compile.integer.operators.packing import pack
from edge_ad.compile.integer.records.residual import (
    Curve,
    FeatureScale,
    FullyConnectedWide,
    GatedAdd,
    TokenNorm,
)
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.errors import EngineError
from edge_ad.runtime.integer.functions import curve, curve_table
from edge_ad.runtime.integer.residual import (
    feature_scale,
    fully_connected_wide,
    gated_add,
    packed_scale,
    token_norm,
)

CASES = 60


def shorts(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Values of all sizes, ends of the range among them."""
    values = rng.integers(-(2**15), 2**15, shape) >> rng.integers(0, 16)
    return np.where(rng.random(shape) < 0.1, rng.choice([-(2**15), 2**15 - 1], shape), values)


def scales(rng: np.random.Generator, units: int) -> np.ndarray:
    return np.array([
        packed_scale(int(rng.integers(0, 2**31)), int(rng.integers(-31, 31))) for _ in range(units)
    ])  # fmt: skip


def dense(
    x: np.ndarray,
    weights: np.ndarray,
    channels: np.ndarray,
    start: int,
    changed: dict[str, int] | None = None,
):
    batch, depth = x.shape[0] - start, x.shape[1]
    fields = {"first": start, "batch": batch, "depth": depth, "units": len(weights)} | (changed or {})

    def make(builder, source, results):
        return FullyConnectedWide(
            input=source, output=results[0], channels=builder.constant(channels.astype(np.int32)),
            weights=builder.constant(pack("plain", FullyConnectedWide, weights.astype(np.int8))), **fields,
        ), []  # fmt: skip

    return operator_image(2 * x.size, [2 * batch * len(weights)], make)


@pytest.mark.parametrize("seed", range(CASES))
def test_a_wide_layer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch, depth, units, first = (int(v) for v in rng.integers([1, 1, 1, 0], [6, 80, 12, 4]))
    x, weights = shorts(rng, first + batch, depth), rng.integers(-128, 128, (units, depth))
    channels = np.stack([rng.integers(-(2**31), 2**31, units), scales(rng, units)])
    (got,) = run(dense(x, weights, channels, first), x.astype(np.int16), np.int16)
    np.testing.assert_array_equal(
        got.reshape(batch, units), fully_connected_wide(x[first:], weights, channels)
    )


def test_a_wide_layer_is_near_a_float_one() -> None:
    rng = np.random.default_rng(0)
    x, weights = rng.integers(-9000, 9000, (7, 68)), rng.integers(-127, 128, (20, 68))
    bias, real = rng.integers(-(10**6), 10**6, 20), rng.uniform(2e-4, 4e-3, 20)
    channels = np.stack([bias, [packed_scale(*quantize_multiplier(float(r))) for r in real]])
    exact = np.clip((x @ weights.T + bias) * real, -(2**15), 2**15 - 1)
    assert np.abs(fully_connected_wide(x, weights, channels) - exact).max() < 0.51


@pytest.mark.parametrize("seed", range(200))
def test_a_packed_scale_is_near_what_it_packs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    multiplier, shift = int(rng.integers(2**30, 2**31)), int(rng.integers(-31, 31))
    word = packed_scale(multiplier, shift)
    assert 0 <= word < 2**31 and 30 - (word & 63) == shift
    assert abs(word - multiplier) <= 64


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("seed", range(20))
def test_features_are_scaled_each_by_itself(seed: int, transposed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = (int(v) for v in rng.integers(1, 20, 2))
    x = shorts(rng, rows, columns)
    features = np.stack([
        rng.integers(-(2**31), 2**31, columns), rng.integers(-18, 13, columns),
        rng.integers(-(2**24), 2**24 + 1, columns) >> rng.integers(0, 24),
    ])  # fmt: skip

    def make(builder, source, results):
        constants = builder.constant(features.astype(np.int32))
        record = FeatureScale(
            input=source, output=results[0], features=constants, rows=rows, columns=columns, transposed=transposed
        )  # fmt: skip
        return record, []

    (got,) = run(operator_image(2 * x.size, [2 * x.size], make), x.astype(np.int16), np.int16)
    wanted = feature_scale(x, features)
    np.testing.assert_array_equal(got, (wanted.T if transposed else wanted).ravel())


@pytest.mark.parametrize("bits", [1, 7, 8, 14])
def test_a_curve(bits: int) -> None:
    rng = np.random.default_rng(bits)
    table = rng.integers(-(2**15), 2**15, 2 ** (16 - bits) + 1)
    x = np.arange(-(2**15), 2**15)

    def make(builder, source, results):
        constant = builder.constant(table.astype(np.int16))
        return Curve(input=source, output=results[0], table=constant, bits=bits, size=x.size), []

    (got,) = run(operator_image(2 * x.size, [2 * x.size], make), x.astype(np.int16), np.int16)
    np.testing.assert_array_equal(got, curve(x, table, bits))


def gated(hidden, gate, table, rows, columns, transposed, multiplier, shift, bits=8):
    """The stream is the input, copied to the output by a curve that changes nothing: the operator works in place."""
    identity = np.minimum(np.arange(-(2**15), 2**15 + 1, 2), 2**15 - 1).astype(np.int16)

    def make(builder, source, results):
        copy = Curve(
            input=source, output=results[0], table=builder.constant(identity), bits=1, size=rows * columns
        )
        builder.step(copy, reads=[source], writes=[results[0]])
        hidden_, gate_, table_ = (builder.constant(v.astype(np.int16)) for v in (hidden, gate, table))
        return GatedAdd(
            stream=results[0], hidden=hidden_, gate=gate_, table=table_, bits=bits, rows=rows, columns=columns,
            transposed=transposed, multiplier=multiplier, shift=shift,
        ), []  # fmt: skip

    return operator_image(2 * rows * columns, [2 * rows * columns], make)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("seed", range(20))
def test_a_gated_sum(seed: int, transposed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = (int(v) for v in rng.integers(1, 20, 2))
    stream = np.minimum(shorts(rng, rows, columns), 2**15 - 2)  # what the copying curve leaves as it is
    hidden, gate = shorts(rng, rows, columns), shorts(rng, rows, columns)
    table = shorts(rng, 257)
    multiplier, shift = int(rng.integers(-(2**31), 2**31)), int(rng.integers(-31, -1))
    laid = [v.T.ravel() if transposed else v.ravel() for v in (hidden, gate)]
    image = gated(*laid, table, rows, columns, transposed, multiplier, shift)
    (got,) = run(image, stream.astype(np.int16), np.int16)
    wanted = gated_add(stream, hidden, gate, table, 8, multiplier, shift)
    np.testing.assert_array_equal(got.reshape(rows, columns), wanted)


def test_a_sigmoid_gate_is_near_a_float_one() -> None:
    rng = np.random.default_rng(5)
    stream, hidden, gate = (rng.normal(0, s, (68, 16)) for s in (2.0, 1.0, 3.0))
    table = curve_table(lambda x: 1 / (1 + np.exp(-x)), 2.0**-11, 2.0**-15, 8)
    q = [np.rint(v * 2**11).astype(np.int64) for v in (stream, hidden, gate)]
    multiplier, shift = quantize_multiplier(2.0**-15)
    got = gated_add(*q, table, 8, multiplier, shift) / 2**11
    assert np.abs(got - (stream + hidden / (1 + np.exp(-gate)))).max() < 2e-3


def normed(parts, gains, biases, floor, down, changed: dict[str, int] | None = None):
    sizes = dict(zip(("a_size", "b_size", "c_size"), map(len, parts), strict=True))
    fields = (
        sizes | {"shift": down, "floor_low": floor & 0xFFFFFFFF, "floor_high": floor >> 32} | (changed or {})
    )
    n = sum(sizes.values())

    def make(builder, source, results):
        a = source
        b, c, g, d = (builder.constant(v.astype(np.int16)) for v in (*parts[1:], gains, biases))
        return TokenNorm(a=a, b=b, c=c, output=results[0], gains=g, biases=d, **fields), []

    return operator_image(2 * len(parts[0]), [2 * n], make)


@pytest.mark.parametrize("seed", range(CASES))
def test_the_norm_over_tokens(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [int(v) for v in rng.integers(1, 200, 3)]
    parts = [shorts(rng, n) for n in sizes]
    if seed % 7 == 0:
        parts = [np.full(n, -(2**15)) for n in sizes]  # no variance at all
    gains, biases = shorts(rng, sum(sizes)), shorts(rng, sum(sizes))
    floor, shift = int(2 ** rng.uniform(0, 61.9)), int(rng.integers(1, 47))
    (got,) = run(normed(parts, gains, biases, floor, shift), parts[0].astype(np.int16), np.int16)
    wanted = token_norm(np.concatenate(parts), gains, biases, floor, shift)
    np.testing.assert_array_equal(got, wanted)


def test_the_norm_is_near_a_float_layer_norm() -> None:
    rng = np.random.default_rng(1)
    n, unit, out = 1088, 2.0**-12, 2.0**-12
    x, gain, bias = rng.normal(0.3, 0.5, n), rng.uniform(0.5, 1.5, n), rng.normal(0, 0.2, n)
    q = np.rint(x / unit).astype(np.int64)
    shift = 17
    gains = np.rint(gain / out * 2.0 ** (shift - 16)).astype(np.int64)
    got = token_norm(q, gains, np.rint(bias / out).astype(np.int64), round(1e-5 * n * n / unit**2), shift)
    exact = (q * unit - (q * unit).mean()) / np.sqrt((q * unit).var() + 1e-5) * gain + bias
    assert np.abs(got * out - exact).max() < 1.5e-3


ONES = np.ones((4, 8), np.int64)
PLAIN = np.stack([np.zeros(4, np.int64), np.full(4, packed_scale(1 << 30, -3))])


@pytest.mark.parametrize(
    "changed",
    [{"first": -1}, {"first": 100}, {"batch": 3}, {"batch": 0}, {"depth": 1 << 25}, {"units": 5}, {"units": -4},
     {"first": 2**31 - 1}],
)  # fmt: skip
def test_a_wide_layer_that_leads_outside_is_refused(changed: dict[str, int]) -> None:
    x = np.ones((2, 8), np.int64)
    with pytest.raises(EngineError, match="damaged"):
        run(dense(x, ONES, PLAIN, 0, changed=changed), x.astype(np.int16), np.int16)


@pytest.mark.parametrize("word", [-1, 62, 63, -(2**31)])
def test_scales_of_a_wide_layer_that_cannot_be_are_refused(word: int) -> None:
    x, channels = np.ones((2, 8), np.int64), PLAIN.copy()
    channels[1, 2] = word
    with pytest.raises(EngineError, match="damaged"):
        run(dense(x, ONES, channels, 0), x.astype(np.int16), np.int16)


@pytest.mark.parametrize(
    "changed",
    [{"floor_low": 0, "floor_high": 0}, {"floor_high": -(2**30)}, {"shift": 0}, {"shift": 47}, {"a_size": 9},
     {"c_size": 0}, {"b_size": 1 << 14}],
)  # fmt: skip
def test_a_norm_that_cannot_be_is_refused(changed: dict[str, int]) -> None:
    parts = [np.ones(8, np.int64)] * 3
    image = normed(parts, np.ones(24, np.int64), np.ones(24, np.int64), 5, 3, changed=changed)
    with pytest.raises(EngineError, match="damaged"):
        run(image, parts[0].astype(np.int16), np.int16)


@pytest.mark.parametrize(("shift", "bits"), [(-1, 8), (-32, 8), (-3, 0), (-3, 15), (-3, 7)])
def test_a_gated_sum_that_cannot_be_is_refused(shift: int, bits: int) -> None:
    """Too little or too much shift; a table of other bits than it has places for."""
    values = np.ones(6, np.int64)
    image = gated(values, values, np.ones(257, np.int64), 2, 3, 0, 1 << 30, shift, bits)
    with pytest.raises(EngineError, match="damaged"):
        run(image, values.astype(np.int16), np.int16)
