import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.errors import DataError, QualityError, UsageError
from edge_ad.metrics.threshold import calibrate_threshold, predictive_interval, smallest_rate


def test_99_scores_at_one_percent_take_the_largest():
    t = calibrate_threshold(np.arange(1, 100)[::-1], 0.01)
    assert (t.value, t.rank, t.n) == (99.0, 99, 99)
    assert t.expected_rate == pytest.approx(0.01)
    assert t.requested_rate == 0.01
    # the true rate follows Beta(1, 99), whose distribution function is 1 - (1 - x)^99
    assert t.interval == pytest.approx((1 - 0.975 ** (1 / 99), 1 - 0.025 ** (1 / 99)))


@pytest.mark.parametrize(
    ("n", "rate", "rank"),
    [
        (9, 0.1, 9),  # exactly 1/(n+1)
        (9, 0.19, 9),  # 0.2 would be allowed by rank 8, 0.19 is not
        (9, 0.2, 8),
        (99, 0.29, 71),  # 0.29 * 100 is 28.999999999999996 in binary
        (99, 0.07, 93),  # 0.07 * 100 is 7.000000000000001 in binary
        (60, 0.05, 58),  # floor(3.05) = 3 above
        (1, 0.5, 1),
        (4, 0.999, 1),
    ],
)
def test_the_rank_is_the_smallest_within_the_budget(n, rate, rank):
    t = calibrate_threshold(np.arange(n) + 1.0, rate)
    assert t.rank == rank
    assert t.value == float(rank)
    assert t.expected_rate == pytest.approx((n + 1 - rank) / (n + 1))


@given(st.integers(1, 300), st.floats(0.004, 0.996))
def test_the_expected_rate_never_exceeds_the_request_and_a_lower_rank_would(n, rate):
    if Fraction(repr(rate)) * (n + 1) < 1:
        with pytest.raises(QualityError):
            calibrate_threshold(np.zeros(n), rate)
        return
    t = calibrate_threshold(np.arange(n), rate)
    assert t.expected_rate <= rate * (1 + 1e-12)
    assert t.expected_rate + 1 / (n + 1) > rate * (1 - 1e-12)
    assert t.interval[0] < t.expected_rate < t.interval[1]


def test_a_rate_that_the_sample_cannot_support_names_what_it_can_and_what_it_needs():
    with pytest.raises(QualityError) as caught:
        calibrate_threshold(np.arange(60), 0.001)
    assert caught.value.exit_code == 3
    text = str(caught.value)
    assert "60 held-back normal inputs" in text
    assert "0.0164" in text  # 1/61 = 0.016393..., rounded up
    assert "hold back 999" in text
    calibrate_threshold(np.arange(999), 0.001)
    with pytest.raises(QualityError):
        calibrate_threshold(np.arange(998), 0.001)


@given(st.integers(1, 5000))
def test_the_smallest_rate_that_the_error_prints_is_accepted(n):
    with pytest.raises(QualityError) as caught:
        calibrate_threshold(np.zeros(n), smallest_rate(n) * 0.999)
    printed = float(caught.value.what.rsplit(" ", 1)[1])
    assert calibrate_threshold(np.zeros(n), printed).rank == n


def test_coverage_of_expected_rate_and_interval_on_simulated_scores():
    rng = np.random.default_rng(0)
    n, trials = 79, 4000
    true_rates, inside = [], 0
    for scores in rng.exponential(size=(trials, n)):
        t = calibrate_threshold(scores, 0.05)
        rate = math.exp(-t.value)  # P(score > value), exactly, for the exponential distribution
        true_rates.append(rate)
        inside += t.interval[0] <= rate <= t.interval[1]
    assert np.mean(true_rates) == pytest.approx(0.05, abs=4 * np.std(true_rates) / math.sqrt(trials))
    assert inside / trials == pytest.approx(0.95, abs=0.015)


def test_coverage_of_the_predictive_interval_on_simulated_scores():
    rng = np.random.default_rng(1)
    n, m, trials = 59, 40, 4000
    draws = rng.normal(size=(trials, n + m))
    inside = 0
    for row in draws:
        t = calibrate_threshold(row[:n], 0.05)
        low, high = predictive_interval(t, m)
        inside += low <= np.mean(row[n:] > t.value) <= high
    # discrete, so it covers at least its nominal 95 %, and not everything
    assert 0.945 <= inside / trials <= 0.995


def test_predictive_interval_of_one_new_input_by_hand():
    # one new input alarms with chance 1/10, so both tails of 2.5 % are met only by {0, 1}
    assert predictive_interval(calibrate_threshold(np.arange(9), 0.1), 1) == (0.0, 1.0)
    # with chance 1/100 it alarms in fewer than 2.5 % of the cases
    assert predictive_interval(calibrate_threshold(np.arange(99), 0.01), 1) == (0.0, 0.0)


def test_ties_make_alarms_rarer_never_more_frequent():
    scores = [0.0] * 5 + [1.0] * 5
    t = calibrate_threshold(scores, 0.3)  # rank 8 of 10 falls among the ties
    assert t.value == 1.0
    assert np.mean(np.array(scores) > t.value) == 0.0 <= t.expected_rate


def test_a_float32_score_is_kept_to_the_bit():
    scores = np.random.default_rng(2).normal(size=50).astype(np.float32)
    assert np.float32(calibrate_threshold(scores, 0.1).value) in scores


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_a_rate_outside_the_open_unit_interval_is_a_usage_error(rate):
    with pytest.raises(UsageError, match="between 0 and 1"):
        calibrate_threshold(np.arange(100), rate)


@pytest.mark.parametrize(
    ("scores", "text"),
    [
        ([], "there are no calibration scores"),
        ([0.1, float("nan"), 0.2], "1 of 3 .* index 1"),
        ([float("inf")], "not finite"),
        ([[0.1, 0.2]], r"shape \(1, 2\)"),
    ],
)
def test_scores_that_cannot_be_used_are_named(scores, text):
    with pytest.raises(DataError, match=text):
        calibrate_threshold(scores, 0.5)


def test_a_rate_on_no_inputs_is_refused():
    with pytest.raises(UsageError):
        predictive_interval(calibrate_threshold(np.arange(9), 0.1), 0)
