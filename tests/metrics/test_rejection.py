"""The band of uncertain scores, against ExCeeD's formula score by score and against recalibration itself."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.bundle.manifest import Rejection, Threshold
from edge_ad.errors import DataError, QualityError, UsageError
from edge_ad.metrics.rejection import REJEX_STABILITY, largest_stability, rejection_band
from edge_ad.metrics.threshold import calibrate_threshold


def p_anomalous(scores: np.ndarray, threshold: Threshold, score: float) -> Fraction:
    """ExCeeD's P(anomalous) in exact arithmetic, as a sum of binomial terms."""
    n = len(scores)
    p = Fraction(1 + int(np.count_nonzero(scores < score)), 2 + n)
    return sum(
        (math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(threshold.rank, n + 1)), Fraction(0)
    )


def verdict(band: Rejection, score: float) -> str:
    return "anomalous" if score > band.upper else "uncertain" if score > band.lower else "normal"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=2, max_size=50),  # many ties
    st.floats(0.05, 0.9),
    st.floats(0.51, 0.99),
)
def test_a_verdict_stands_exactly_where_its_probability_to_hold_reaches_the_stability(
    raw: list[int], rate: float, stability: float
) -> None:
    scores = np.array(raw, np.float64)
    try:
        threshold = calibrate_threshold(scores, rate)
        band = rejection_band(scores, threshold, stability)
    except QualityError:
        return
    assert band.lower <= threshold.value <= band.upper
    assert {band.lower, band.upper} <= set(scores)
    for score in np.unique(np.r_[scores - 0.5, scores, scores + 0.5]):
        high = p_anomalous(scores, threshold, score)
        holds = high if score > threshold.value else 1 - high
        if abs(holds - Fraction(stability)) < 1e-9:
            continue  # within the rounding of double precision
        plain = "anomalous" if score > threshold.value else "normal"
        assert verdict(band, score) == (plain if holds >= stability else "uncertain"), score


def test_a_case_by_hand() -> None:
    # n = 4, rank 3: with j scores below, P(anomalous) is P(Binomial(4, (1 + j) / 6) >= 3):
    # 21/1296, 144/1296, 405/1296, 768/1296, 1125/1296 = 0.016, 0.111, 0.3125, 0.593, 0.868
    scores = [1.0, 2.0, 3.0, 4.0]
    threshold = calibrate_threshold(scores, 0.4)
    assert (threshold.rank, threshold.value) == (3, 3.0)
    assert largest_stability(threshold) == pytest.approx(1125 / 1296)
    band = rejection_band(scores, threshold, 0.8)
    assert (band.lower, band.upper) == (2.0, 4.0)  # 0.889 and better are normal, 0.868 is anomalous
    assert band.expected_rate == pytest.approx(2 / 5)
    assert (band.n, band.stability, band.method) == (4, 0.8, "exceed")
    sure = rejection_band(scores, threshold, 0.55)
    assert (sure.lower, sure.upper) == (3.0, 3.0) and sure.expected_rate == 0.0


def test_the_probability_is_that_of_the_same_verdict_after_another_calibration() -> None:
    """The promise itself: scores at the ends of the band, thresholds calibrated anew from the same distribution."""
    rng = np.random.default_rng(3)
    n, rate, stability = 200, 0.05, 0.9
    n_over_upper, n_under_lower = [], []
    for _ in range(200):
        scores = rng.exponential(size=n)
        band = rejection_band(scores, calibrate_threshold(scores, rate), stability)
        again = calibrate_threshold(rng.exponential(size=n), rate).value
        n_over_upper.append(band.upper > again)
        n_under_lower.append(band.lower <= again)
    # For a fixed sample it is an estimate. On average over samples both errors count, that of the first calibration
    # too: for a band of z = 1.28 standard errors that leaves Phi(1.28 / sqrt 2) = 0.82 of the second ones.
    assert 0.75 < np.mean(n_over_upper) < 0.92
    assert 0.75 < np.mean(n_under_lower) < 0.92


def test_the_expected_rate_is_the_share_of_new_normal_inputs_in_the_band() -> None:
    rng = np.random.default_rng(0)
    shares, expected = [], set()
    for scores in rng.exponential(size=(2000, 99)):
        band = rejection_band(scores, calibrate_threshold(scores, 0.05), 0.9)
        shares.append(
            math.exp(-band.lower) - math.exp(-band.upper)
        )  # exactly, for the exponential distribution
        expected.add(band.expected_rate)
    assert len(expected) == 1  # a matter of ranks
    assert np.mean(shares) == pytest.approx(expected.pop(), abs=4 * np.std(shares) / math.sqrt(len(shares)))


@given(st.integers(40, 400), st.floats(0.51, 0.97), st.floats(0.51, 0.97))
def test_asking_for_more_stability_widens_the_band(n: int, a: float, b: float) -> None:
    scores = np.arange(n)
    threshold = calibrate_threshold(scores, 0.1)
    narrow, wide = (rejection_band(scores, threshold, s) for s in sorted((a, b)))
    assert wide.lower <= narrow.lower and narrow.upper <= wide.upper
    assert narrow.expected_rate <= wide.expected_rate


def test_the_band_depends_on_ranks_only_and_narrows_with_the_sample() -> None:
    rates = []
    for n in (100, 1000, 10_000):
        scores = np.random.default_rng(n).normal(size=n)
        threshold = calibrate_threshold(scores, 0.05)
        band = rejection_band(scores, threshold, 0.95)
        moved = np.exp(scores)
        other = rejection_band(moved, calibrate_threshold(moved, 0.05), 0.95)
        assert other.expected_rate == band.expected_rate
        assert (other.lower, other.upper) == pytest.approx((math.exp(band.lower), math.exp(band.upper)))
        rates.append(band.expected_rate)
    assert rates[0] > 2 * rates[1] > 4 * rates[2]  # about one over the square root of n


def test_the_order_of_the_scores_does_not_matter() -> None:
    scores = np.random.default_rng(1).permutation(80)
    threshold = calibrate_threshold(scores, 0.1)
    assert rejection_band(scores, threshold, 0.9) == rejection_band(np.sort(scores), threshold, 0.9)


def test_where_only_scores_above_all_are_stable_the_largest_is_the_upper_end() -> None:
    scores = np.arange(59.0)
    threshold = calibrate_threshold(scores, 0.05)  # 3 of 60 above
    band = rejection_band(scores, threshold, 0.92)
    assert largest_stability(threshold) > 0.92
    assert band.upper == 58.0 and verdict(band, 58.0) == "uncertain" and verdict(band, 58.001) == "anomalous"


def test_scores_that_all_tie_leave_no_band() -> None:
    scores = np.full(100, 7.0)
    band = rejection_band(scores, calibrate_threshold(scores, 0.1), 0.9)
    assert (band.lower, band.upper, band.expected_rate) == (7.0, 7.0, 0.0)
    assert verdict(band, 7.0) == "normal" and verdict(band, 7.1) == "anomalous"


def test_the_ends_are_float32_scores_and_survive_json() -> None:
    scores = np.random.default_rng(2).normal(size=100).astype(np.float32)
    band = rejection_band(scores, calibrate_threshold(scores, 0.1), 0.9)
    assert np.float32(band.lower) in scores and np.float32(band.upper) in scores
    assert Rejection.model_validate(json.loads(band.model_dump_json())) == band


@pytest.mark.parametrize(
    ("above", "stability"), [(1, 0.3679), (2, 0.7358), (3, 0.9197), (4, 0.9810), (5, 0.9963)]
)
def test_the_largest_stability_tends_to_poissons_distribution(above: int, stability: float) -> None:
    n = 100_000
    threshold = Threshold(
        value=0.0, requested_rate=0.5, expected_rate=above / (n + 1), interval=(0, 1), n=n, rank=n + 1 - above
    )
    assert largest_stability(threshold) == pytest.approx(stability, abs=5e-5)
    mirrored = threshold.model_copy(update={"rank": above})
    assert largest_stability(mirrored) == largest_stability(threshold)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.floats(0.01, 0.95), st.floats(0.51, 0.9999))
def test_a_stability_too_large_names_the_largest_and_how_many_inputs_would_do(
    n: int, rate: float, stability: float
) -> None:
    scores = np.arange(n)
    try:
        threshold = calibrate_threshold(scores, rate)
    except QualityError:
        return
    if largest_stability(threshold) >= stability:
        rejection_band(scores, threshold, stability)
        return
    with pytest.raises(QualityError) as caught:
        rejection_band(scores, threshold, stability)
    hint = caught.value.hint or ""
    if "ask for" in hint:
        printed = float(hint.split("ask for ")[1].split(",")[0])
        assert rejection_band(scores, threshold, printed).stability == printed
    else:
        assert largest_stability(threshold) <= 0.51
    needed = int(hint.split("hold back ")[1].split(" ")[0])
    assert needed > n
    for enough in (needed, needed + 1, 2 * needed, 7 * needed):
        more = np.arange(enough)
        rejection_band(more, calibrate_threshold(more, rate), stability)


def test_the_refusal_reads_well() -> None:
    scores = np.arange(60)
    with pytest.raises(QualityError) as caught:
        rejection_band(scores, calibrate_threshold(scores, 0.05), 0.95)
    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        "with 60 held-back normal inputs and a false-alarm rate of 0.05 no score, however high, is anomalous with a "
        "stability of 0.95; ask for 0.927, the largest that they support, hold back 79 of them, or allow more false "
        "alarms"
    )
    with pytest.raises(QualityError, match=r"however high, .* of 0.9; hold back 59 of them"):
        rejection_band(scores[:20], calibrate_threshold(scores[:20], 0.05), 0.9)
    with pytest.raises(QualityError, match="however low, is normal"):
        rejection_band(scores[:9], calibrate_threshold(scores[:9], 0.95), 0.9)


def test_rejexs_constant_is_reached_with_17_scores_above_the_threshold() -> None:
    """1 - exp(-32) leaves 1.3e-14, far into a tail: P(Poisson(1) >= 17) = 1.1e-15, and 1.9e-14 for 16."""
    assert math.isclose(1 - REJEX_STABILITY, math.exp(-32), rel_tol=0.01)
    scores = np.arange(339)
    threshold = calibrate_threshold(scores, 0.05)
    assert threshold.n + 1 - threshold.rank == 17
    band = rejection_band(scores, threshold, REJEX_STABILITY)
    assert p_anomalous(scores, threshold, band.upper + 0.5) >= Fraction(REJEX_STABILITY)
    assert p_anomalous(scores, threshold, band.upper) < Fraction(REJEX_STABILITY)
    with pytest.raises(QualityError, match="hold back 339"):
        rejection_band(scores[:318], calibrate_threshold(scores[:318], 0.05), REJEX_STABILITY)


@pytest.mark.parametrize("stability", [0.5, 1.0, 0.0, -1.0, 1.5, float("nan")])
def test_a_stability_outside_its_range_is_a_usage_error(stability: float) -> None:
    with pytest.raises(UsageError, match=r"between 0\.5 and 1"):
        rejection_band(np.arange(100), calibrate_threshold(np.arange(100), 0.1), stability)


@pytest.mark.parametrize("scores", [np.arange(99), np.arange(101), np.arange(100) + 1.0])
def test_scores_that_the_threshold_does_not_come_from_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"the threshold 89 is not the 90-th smallest of these"):
        rejection_band(scores, calibrate_threshold(np.arange(100), 0.11), 0.9)


def test_scores_that_cannot_be_used_are_named() -> None:
    threshold = calibrate_threshold(np.arange(100), 0.1)
    with pytest.raises(DataError, match="1 of 100 calibration scores are not finite, the first at index 3"):
        rejection_band(np.where(np.arange(100) == 3, np.nan, 1.0), threshold, 0.9)
    with pytest.raises(DataError, match="there are no calibration scores"):
        rejection_band([], threshold, 0.9)
