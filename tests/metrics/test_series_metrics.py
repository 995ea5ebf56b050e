"""VUS and PATE against their definitions, written out threshold by threshold, and against published packages."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.errors import DataError, UsageError
from edge_ad.metrics.pate import pate
from edge_ad.metrics.series_labels import ranges
from edge_ad.metrics.vus import vus


def series(seed: int, n: int = 60):
    rng = np.random.default_rng(seed)
    labels = np.zeros(n, bool)
    for _ in range(int(rng.integers(1, 4))):
        begin = int(rng.integers(0, n - 12))
        labels[begin : begin + int(rng.integers(1, 10))] = True
    scores = rng.normal(size=n) + labels * rng.uniform(0, 2)
    return labels, np.round(scores) if seed % 2 else scores  # rounding makes ties


def literal_vus(labels, scores, buffer: int) -> tuple[float, float]:
    """One buffer and one threshold after the other (Paparrizos et al. 2022, as TSB-AD computes it)."""
    pr_areas, roc_areas = [], []
    n, total = len(labels), labels.sum()
    for length in range(buffer + 1):
        soft = labels.astype(float)
        for first, last in ranges(labels):
            for t in range(n):
                if last < t <= last + length // 2:
                    soft[t] += (1 - (t - last) / length) ** 0.5
                elif first - length // 2 <= t < first:
                    soft[t] += (1 - (first - t) / length) ** 0.5
        soft = np.minimum(soft, 1)
        near = [set(range(a - length // 2, b + length // 2 + 1)) for a, b in ranges(labels)]
        groups: list[set[int]] = []
        for rows in near:
            if groups and min(rows) <= max(groups[-1]):
                groups[-1] |= rows
            else:
                groups.append(set(rows))
        points = [(0.0, 0.0, 1.0)]
        for threshold in sorted(set(scores), reverse=True):
            predicted = scores >= threshold
            hits = soft[predicted].sum()
            size = (total + total + soft[predicted & ~labels].sum()) / 2
            found = sum(any(predicted[t] for t in g if 0 <= t < n) for g in groups) / len(groups)
            points.append(
                (min(hits / size, 1) * found, (predicted.sum() - hits) / (n - size), hits / predicted.sum())
            )
        pr_areas.append(sum((b[0] - a[0]) * b[2] for a, b in itertools.pairwise(points)))
        points.append((1.0, 1.0, 0.0))
        roc_areas.append(sum((b[1] - a[1]) * (a[0] + b[0]) / 2 for a, b in itertools.pairwise(points)))
    return float(np.mean(pr_areas)), float(np.mean(roc_areas))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 9))
def test_vus_is_what_the_definition_says(seed: int, buffer: int) -> None:
    labels, scores = series(seed)
    found = vus(labels, scores, buffer)
    pr, roc = literal_vus(labels, scores, buffer)
    assert found.pr == pytest.approx(min(pr, 1.0), abs=1e-12)
    assert found.roc == pytest.approx(min(roc, 1.0), abs=1e-12)


def literal_pate(labels, scores, early: int, delay: int) -> float:
    """Point by point with the published weights (Ghorbani et al. 2024), for one pair of buffers."""
    n, events = len(labels), ranges(labels)
    points = [(0.0, 1.0)]
    for threshold in sorted(set(scores), reverse=True):
        predicted = scores >= threshold
        true = false = missed = 0.0
        end_before, used = -1, set()
        for i, (a, b) in enumerate(events):
            limit = min(b + delay, (events[i + 1][0] if i + 1 < len(events) else n) - 1)
            start = max(0, a - early, end_before + 1)
            end_before = limit
            rows, hit = range(a, b + 1), predicted[a : b + 1]
            used |= set(range(start, limit + 1))
            for t in range(b + 1, limit + 1):
                if predicted[t]:
                    weight = 1 - sum(abs(t - y) for y in rows) / sum(abs(limit - y) for y in rows)
                    true, false = true + weight, false + 1 - weight
            for t in range(start, a):
                if predicted[t]:
                    weight = 1 - sum(abs(t - y) for y in rows) / sum(abs(start - y) for y in rows)
                    weight = weight if hit.any() else 0.0
                    true, false = true + weight, false + 1 - weight
            true += hit.sum()
            if not hit.any():
                missed += len(rows)
                continue
            first = int(np.argmax(hit))
            run = 0
            while first + run < len(hit) and hit[first + run]:
                run += 1
            most = sum(abs(b - y) for y in rows)
            for t in rows:
                if not predicted[t]:
                    away = sum(abs(t - y) for y in range(a, a + run + 1))
                    missed += 1 if t <= a + run else 1 - away / most
        false += sum(predicted[t] for t in range(n) if t not in used)
        recall = true / (true + missed) if true + missed else 0.0
        if recall >= points[-1][0]:
            points.append((recall, true / (true + false)))
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 8), st.integers(0, 8))
def test_pate_is_what_the_definition_says(seed: int, early: int, delay: int) -> None:
    labels, scores = series(seed)
    pairs = [(e, d) for e in (0, early) for d in (0, delay)]
    wanted = np.mean([literal_pate(labels, scores, e, d) for e, d in pairs])
    assert pate(labels, scores, early, delay).value == pytest.approx(wanted, abs=1e-12)


# Figures of the packages vus 0.0.6 (RangeAUC_volume_opt with a threshold for each row) and pate 0.1.1 (Big_Data=False,
# drop_intermediate=False) for `series(seed, 90)`, buffers 8 and 5.
PUBLISHED = {
    10: (0.2810104242, 0.6237436285, 0.2108246142),
    11: (0.4072917183, 0.8980207198, 0.5929129096),
    12: (0.3107735091, 0.7573316451, 0.2555450483),
    13: (0.2448911435, 0.585060249, 0.2250933814),
    14: (0.4503968254, 0.9146825397, 0.4448921582),
}


@pytest.mark.parametrize("seed", PUBLISHED)
def test_published_packages_agree(seed: int) -> None:
    labels, scores = series(seed, 90)
    found = vus(labels, scores, 8)
    assert (found.pr, found.roc, pate(labels, scores, 5, 5).value) == pytest.approx(PUBLISHED[seed], abs=1e-9)


def test_a_perfect_score_is_one_without_buffers_and_a_constant_one_is_the_share_of_anomalies() -> None:
    labels = np.zeros(200, bool)
    labels[40:50] = labels[120:130] = True
    perfect = vus(labels, labels.astype(float), 0)
    assert perfect.pr == 1.0 and perfect.roc == 1.0 and pate(labels, labels.astype(float), 0, 0).value == 1.0
    constant = vus(labels, np.zeros(200), 0)
    assert constant.pr == pytest.approx(0.1) and constant.roc == pytest.approx(0.5)


def test_a_monotone_change_of_the_scores_changes_nothing() -> None:
    labels, scores = series(4)
    assert vus(labels, scores, 6) == vus(labels, 3 * scores + 7, 6)
    assert pate(labels, scores, 6, 6).value == pytest.approx(pate(labels, 3 * scores + 7, 6, 6).value)


def test_long_series_with_many_scores_are_measured_at_quantiles() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(3000, bool)
    labels[500:560] = labels[2000:2100] = True
    scores = rng.normal(size=3000) + labels
    assert pate(labels, scores, 20, 20).value == pytest.approx(
        np.mean([literal_pate(labels, np.round(scores, 2), e, d) for e in (0, 20) for d in (0, 20)]), abs=0.03
    )


def test_what_they_cannot_say_is_refused() -> None:
    labels, scores = series(2)
    for metric in (lambda y, s: vus(y, s, 3), lambda y, s: pate(y, s, 3, 3)):
        with pytest.raises(DataError, match="no anomalous one"):
            metric(np.zeros(60, bool), scores)
        with pytest.raises(DataError, match="not finite"):
            metric(labels, np.where(labels, np.nan, scores))
        with pytest.raises(DataError, match="shape"):
            metric(labels[:-1], scores)
    with pytest.raises(UsageError):
        vus(labels, scores, -1)
    with pytest.raises(UsageError):
        pate(labels, scores, -1, 2)
