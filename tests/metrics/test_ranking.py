import numpy as np
import pytest
from scipy.stats import norm

from edge_ad.errors import DataError, QualityError
from edge_ad.metrics.ranking import auroc, auroc_change, rank_correlation


def test_auroc_counts_pairs_and_ties_by_half():
    result = auroc([0, 0, 1, 1], [1.0, 2.0, 2.0, 3.0])  # of 4 pairs 3 are right and 1 is tied
    assert result.value == pytest.approx(3.5 / 4)
    assert (result.n_normal, result.n_anomalous) == (2, 2)
    assert result.interval[0] < result.value < result.interval[1]


def test_perfect_separation_of_few_images_does_not_claim_certainty():
    few = auroc([0] * 5 + [1] * 5, range(10))
    many = auroc([0] * 500 + [1] * 500, range(1000))
    assert few.value == many.value == 1.0
    assert few.interval[1] == many.interval[1] == 1.0
    assert few.interval[0] < 0.75 < 0.99 < many.interval[0] < 1.0
    reversed_ = auroc([1] * 5 + [0] * 5, range(10))
    assert reversed_.value == 0.0
    assert reversed_.interval == pytest.approx((0.0, 1 - few.interval[0]))


def test_coverage_of_the_auroc_interval_on_simulated_scores():
    rng = np.random.default_rng(0)
    trials, m, n, delta = 600, 30, 40, 1.5
    truth = norm.cdf(delta / np.sqrt(2))
    labels = [1] * m + [0] * n
    inside = 0
    for _ in range(trials):
        low, high = auroc(labels, np.r_[rng.normal(delta, 1, m), rng.normal(0, 1, n)]).interval
        inside += low <= truth <= high
    assert 0.92 <= inside / trials <= 0.98


def test_change_of_auroc_is_the_difference_and_its_interval_knows_the_pairing():
    rng = np.random.default_rng(1)
    labels = np.r_[np.ones(60), np.zeros(80)]
    before = rng.normal(size=140) + 1.2 * labels
    after = before + 0.05 * rng.normal(size=140)
    change = auroc_change(labels, before, after)
    a, b = auroc(labels, before), auroc(labels, after)
    assert change.value == pytest.approx(b.value - a.value)
    assert change.interval[0] <= change.value <= change.interval[1]
    assert change.interval[1] - change.interval[0] < 0.2 * (a.interval[1] - a.interval[0])
    same = auroc_change(labels, before, before)
    assert (same.value, same.interval) == (0.0, (0.0, 0.0))


def test_coverage_of_the_paired_interval_on_simulated_scores():
    rng = np.random.default_rng(2)
    trials, m, n = 500, 40, 50
    truth = norm.cdf(1.0 / np.sqrt(2 * (1 + 0.5**2))) - norm.cdf(1.0 / np.sqrt(2))
    labels = np.r_[np.ones(m), np.zeros(n)]
    inside = 0
    for _ in range(trials):
        before = rng.normal(size=m + n) + labels
        low, high = auroc_change(labels, before, before + 0.5 * rng.normal(size=m + n)).interval
        inside += low <= truth <= high
    assert 0.91 <= inside / trials <= 0.98


def test_rank_correlation_sees_order_only():
    scores = np.random.default_rng(3).normal(size=50)
    assert rank_correlation(scores, np.exp(scores)) == pytest.approx(1.0)
    assert rank_correlation(scores, -scores) == pytest.approx(-1.0)


def test_what_has_no_figure_is_refused():
    with pytest.raises(DataError, match="no anomalous input"):
        auroc([0, 0], [1.0, 2.0])
    with pytest.raises(DataError, match="no normal input"):
        auroc_change([1, 1], [1.0, 2.0], [1.0, 2.0])
    with pytest.raises(DataError, match="other than 0"):
        auroc([0, 2], [1.0, 2.0])
    with pytest.raises(DataError, match=r"shape \(3,\), expected \(2,\)"):
        auroc([0, 1, 1], [1.0, 2.0])
    with pytest.raises(DataError, match="not finite"):
        auroc([0, 1], [1.0, np.nan])
    with pytest.raises(QualityError, match="compiled scores"):
        rank_correlation([1.0, 2.0], [5.0, 5.0])
    with pytest.raises(DataError, match="2 float scores but 3"):
        rank_correlation([1.0, 2.0], [1.0, 2.0, 3.0])
