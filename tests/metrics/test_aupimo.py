"""AUPIMO against its definition, written out pixel by pixel, and cases whose value is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.errors import DataError, QualityError, UsageError
from edge_ad.metrics.aupimo import _POINTS, aupimo, aupimo_change, summary

BOUNDS = (0.01, 0.1)


def literal(samples, bounds) -> list[float]:
    """For each rate the lowest threshold that keeps it, tried one after the other."""
    good = [m for m, mask in samples if not mask.any()]
    levels = sorted({float(v) for m in good for v in m.ravel()})
    rates = np.geomspace(*bounds, _POINTS)
    thresholds = []
    for rate in rates:
        kept = [t for t in levels if np.mean([(m > t).mean() for m in good]) <= rate * (1 + 1e-12)]
        thresholds.append(min(kept))
    values = []
    for map_, mask in samples:
        if mask.any():
            found = [float((map_[mask] > t).mean()) for t in thresholds]
            steps = np.diff(np.log(rates))
            area = sum(d * (a + b) / 2 for d, a, b in zip(steps, found, found[1:], strict=False))
            values.append(area / math.log(bounds[1] / bounds[0]))
    return values


def draw(seed: int, n_good: int, coarse: bool, size: tuple[int, int] = (12, 13)):
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(n_good + 3):
        mask = np.zeros(size, bool)
        map_ = rng.normal(size=size)
        if i >= n_good:
            mask[2:6, 3:8] = True
            map_[mask] += rng.uniform(0, 3)
        samples.append((np.round(map_, 1) if coarse else map_, mask))
    return samples


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.booleans())
def test_it_is_what_the_definition_says(seed: int, n_good: int, coarse: bool) -> None:
    samples = draw(seed, n_good, coarse)
    np.testing.assert_allclose(aupimo(lambda: iter(samples), BOUNDS), literal(samples, BOUNDS), atol=1e-12)


def test_a_defect_above_every_good_pixel_is_perfect_and_one_below_is_nothing() -> None:
    samples = draw(1, 4, False)
    high = [(np.where(mask, 100.0, map_), mask) for map_, mask in samples]
    low = [(np.where(mask, -100.0, map_), mask) for map_, mask in samples]
    assert aupimo(lambda: iter(high), BOUNDS) == pytest.approx([1.0, 1.0, 1.0], abs=1e-12)
    assert aupimo(lambda: iter(low), BOUNDS).tolist() == [0.0, 0.0, 0.0]


def test_the_summary_and_the_paired_change() -> None:
    before, after = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0.1, 0.3, 0.6, 0.7])
    assert summary(before).mean == pytest.approx(0.5) and summary(before).n_images == 4
    change = aupimo_change(before, after)
    assert change.mean == pytest.approx(-0.075) and change.p_value is not None
    assert aupimo_change(before, before).p_value is None


def test_what_it_cannot_say_is_refused() -> None:
    samples = draw(2, 2, False)
    with pytest.raises(QualityError, match=r"312 pixels of good images .* smallest they can is 0.0032"):
        aupimo(lambda: iter(samples), (1e-5, 1e-4))
    with pytest.raises(UsageError, match="do not rise"):
        aupimo(lambda: iter(samples), (0.1, 0.01))
    with pytest.raises(DataError, match="needs good images"):
        aupimo(lambda: iter(samples[2:]), BOUNDS)
    with pytest.raises(DataError, match="marked defect"):
        aupimo(lambda: iter(samples[:2]), BOUNDS)
    broken = [(np.full((12, 13), np.nan), np.zeros((12, 13), bool))]
    with pytest.raises(DataError, match="not finite"):
        aupimo(lambda: iter(broken), BOUNDS)
