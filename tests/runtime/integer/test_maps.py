"""Anomaly maps in integers: C equals NumPy to the bit, whole and in stripes; NumPy equals exact rationals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from own_operators import one_node, run, run_whole_and_striped

from edge_ad.compile.integer.draft import Draft
from edge_ad.detectors.fader.similarity import smooth
from edge_ad.runtime.integer.maps import affine_map, box_mean, map_max, squared_difference, squares_shift


@pytest.mark.parametrize(("channels", "two"), [(1, False), (3, True), (32, False), (384, True)])
def test_squared_differences(channels: int, two: bool) -> None:
    rng = np.random.default_rng(channels)
    shift = squares_shift(channels)
    for limit in (32767, 4000, 3):
        a, b = rng.integers(-limit, limit + 1, (2, 1, 6, 5, channels)).astype(np.int16)
        b = b // 4 if limit == 32767 else b
        inputs = [a, b] if two else [a]
        graph = one_node("squared_difference", inputs, [], (1, 6, 5, 1), "int32", shift=shift)
        (found,) = run_whole_and_striped(graph, inputs, 4)
        np.testing.assert_array_equal(found[..., 0], squared_difference(a, b if two else None, shift))
        real = a.astype(object) - (b.astype(object) if two else 0)
        exact = [Fraction(int(total), 1 << shift) for total in (real * real).sum(-1).ravel()]
        expected = [min((2 * e.numerator + e.denominator) // (2 * e.denominator), 2**31 - 1) for e in exact]
        assert found.ravel().tolist() == expected


def test_no_square_of_full_scale_saturates_with_its_shift() -> None:
    for channels in (1, 2, 3, 32, 33, 384, 1000):
        ends = np.full((1, channels), 32767, np.int16)
        shift = squares_shift(channels)
        assert int(squared_difference(ends, None, shift)[0]) < 2**31 - 1
        if shift:
            assert channels * 32767**2 >> (shift - 1) >= 2**31


@pytest.mark.parametrize(
    ("height", "width", "side", "stripes"), [(9, 7, 5, 4), (4, 30, 21, 2), (20, 3, 3, 20), (5, 5, 1, 3)]
)
def test_means_over_windows(height: int, width: int, side: int, stripes: int) -> None:
    rng = np.random.default_rng(side)
    most = (2**32 - 1) // side**2
    for limit in (min(most, 2**31 - 1), 1000):
        values = rng.integers(0, limit, (1, height, width, 1), endpoint=True).astype(np.int32)
        graph = one_node("box_mean", [values], [], values.shape, "int32", side=side)
        (found,) = run_whole_and_striped(graph, [values], stripes)
        np.testing.assert_array_equal(found[0, ..., 0], box_mean(values[0, ..., 0], side))
        exact = smooth(torch.from_numpy(values[None, 0, ..., 0]).double(), side)[0].numpy()
        assert np.abs(found[0, ..., 0] - exact).max() <= 0.5 + 1e-9 * limit


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("with_base", [False, True])
def test_maps_are_standardised_and_added(each: bool, with_base: bool) -> None:
    rng = np.random.default_rng(each)
    shape = (1, 7, 6, 1)
    values, base = rng.integers(-(2**31), 2**31, (2, *shape)).astype(np.int32)
    size = shape if each else (1,)
    mean = rng.integers(-(2**31), 2**31, size).astype(np.int32)
    gain = rng.integers(0, 2**16, size).astype(np.uint16)
    for shift in (0, 15, 40):
        draft_inputs = [values, base] if with_base else [values]
        graph = _affine(draft_inputs, mean, gain, shift)
        (found,) = run_whole_and_striped(graph, draft_inputs, 3)
        wide = gain.astype(np.int64)
        np.testing.assert_array_equal(
            found, affine_map(values, base if with_base else None, mean.astype(np.int64), wide, shift)
        )
    exact = (values.astype(float) - mean) * gain / 2**40 + (base if with_base else 0)
    np.testing.assert_allclose(found, np.clip(exact, -(2**31), 2**31 - 1), atol=0.51)


def _affine(inputs: list[np.ndarray], mean: np.ndarray, gain: np.ndarray, shift: int):
    draft = Draft()
    given = [draft.tensor(x.shape, x.dtype) for x in inputs]
    output = draft.tensor(inputs[0].shape, "int32")
    draft.node(
        "affine_map", [given[0], draft.constant(mean), draft.constant(gain), *given[1:]], output, shift=shift
    )
    return draft.graph(given, [output])


def test_the_largest_value_less_an_offset() -> None:
    rng = np.random.default_rng(0)
    for offset in (0, 12345, -(2**31), 2**31 - 1):
        for low, high in ((-(2**31), 2**31), (-50, -40), (2**31 - 3, 2**31)):
            values = rng.integers(low, high, (1, 8, 8, 1)).astype(np.int32)
            (found,) = run(one_node("map_max", [values], [], (1, 1), "int32", offset=offset), [values])
            assert found.item() == map_max(values, offset)
            assert found.item() == max(-(2**31), min(2**31 - 1, int(values.max()) - offset))
