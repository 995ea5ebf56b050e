"""PATE: precision and recall that credit early and late detections by how near they are.

Ghorbani, Reinders and Tax, PATE: Proximity-Aware Time series anomaly Evaluation, KDD 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from sklearn.metrics import auc

from edge_ad.bundle.manifest import Spec
from edge_ad.errors import UsageError
from edge_ad.metrics.checks import BoolArray, FloatArray
from edge_ad.metrics.series_labels import labelled_scores, ranges

MAX_THRESHOLDS = 250  # as in the authors' code; fewer distinct scores are all used


class Pate(Spec):
    """Proximity-aware area under precision and recall."""

    value: Annotated[float, Field(ge=0, le=1)] = Field(description="mean over pairs of buffers; 1 is perfect")
    early: Annotated[int, Field(ge=0)] = Field(description="longest buffer before an anomaly, rows")
    delay: Annotated[int, Field(ge=0)] = Field(description="longest buffer after an anomaly, rows")


@dataclass(frozen=True)
class _Zone:
    """One anomaly and its buffers: rows first..last, early_from.. before it, ..late_to after it, and the weights of
    predictions in both buffers."""

    first: int
    last: int
    early_from: int
    late_to: int
    early: npt.NDArray[np.floating[Any]]
    late: npt.NDArray[np.floating[Any]]


def pate(labels: npt.ArrayLike, scores: npt.ArrayLike, early: int, delay: int, splits: int = 1) -> Pate:
    """PATE of point-wise scores (T,), labels (T,) True for anomalous rows.

    early, delay: longest buffers before and after an anomaly. The area is averaged over all pairs of `splits` + 1
    lengths each from 0 up to these. Of more than MAX_THRESHOLDS distinct scores as many quantiles are the thresholds; a
    row at a threshold counts as predicted, so equal scores pass together. Raises DataError as `vus` does, UsageError
    for buffers below 0.
    """
    anomalous, values = labelled_scores(labels, scores)
    if min(early, delay) < 0 or splits < 1:
        raise UsageError(f"buffers of {early} and {delay} rows in {splits} steps cannot be")
    segments = ranges(anomalous)
    thresholds = np.unique(values)[::-1]
    if thresholds.size > MAX_THRESHOLDS:
        thresholds = np.percentile(thresholds, np.linspace(100, 0, MAX_THRESHOLDS))
    areas = [
        _area(anomalous, values, zones(segments, int(e), int(d), values.size), thresholds)
        for e in np.linspace(0, early, splits + 1, dtype=int)
        for d in np.linspace(0, delay, splits + 1, dtype=int)
    ]
    return Pate(value=float(np.clip(np.mean(areas), 0, 1)), early=early, delay=delay)


def zones(segments: list[tuple[int, int]], early: int, delay: int, n: int) -> list[_Zone]:
    """Anomalies with their buffers, a later one's beginning only where the one before it ends."""
    found: list[_Zone] = []
    for i, (first, last) in enumerate(segments):
        following = segments[i + 1][0] if i + 1 < len(segments) else n
        early_from = max(0, first - early, found[-1].late_to + 1 if found else 0)
        late_to = min(last + delay, following - 1)
        middle = (first + last) / 2  # the mean distance to the anomaly's rows is the distance to their middle
        before = np.arange(early_from, first)
        after = np.arange(last + 1, late_to + 1)
        weights_before = 1 - (middle - before) / max(middle - early_from, 0.5)
        weights_after = 1 - (after - middle) / max(late_to - middle, 0.5)
        found.append(_Zone(first, last, early_from, late_to, weights_before, weights_after))
    return found


def _area(anomalous: BoolArray, values: FloatArray, found: list[_Zone], thresholds: FloatArray) -> float:
    """Area under one pair of buffers' curve, without the points at which recall falls back."""
    buffered = anomalous.copy()
    for zone in found:
        buffered[zone.early_from : zone.late_to + 1] = True
    outside = np.sort(values[~buffered])
    false_outside = outside.size - np.searchsorted(outside, thresholds, side="left")
    precision, recall = [1.0], [0.0]
    for threshold, false in zip(thresholds, false_outside, strict=True):
        true, wrong, missed = np.sum([_counts(values, zone, threshold) for zone in found], axis=0)
        total = true + wrong + false
        share = true / (true + missed) if true + missed > 0 else 0.0
        if share >= recall[-1]:
            precision.append(true / total if total > 0 else 0.0)
            recall.append(share)
    return float(auc(recall, precision))


def _counts(values: FloatArray, zone: _Zone, threshold: float) -> tuple[float, float, float]:
    """Weighted true and false predictions and misses of one anomaly and its buffers."""
    hit = values[zone.first : zone.last + 1] >= threshold
    before = values[zone.early_from : zone.first] >= threshold
    after = values[zone.last + 1 : zone.late_to + 1] >= threshold
    late = float(zone.late[after].sum())
    true, wrong = late, float(after.sum()) - late
    if not hit.any():  # what comes before an anomaly that is then missed was no early detection
        return true, wrong + float(before.sum()), float(hit.size)
    early = float(zone.early[before].sum())
    true += early + float(hit.sum())
    wrong += float(before.sum()) - early
    return true, wrong, _missed(hit)


def _missed(hit: BoolArray) -> float:
    """Weighted misses within an anomaly that was found: full weight up to as many rows after its beginning as the first
    hit is long, then falling with the distance from these."""
    if hit.all():
        return 0.0
    begin = int(np.argmax(hit))
    run = int(np.argmin(np.append(hit[begin:], False)))
    rows = np.flatnonzero(~hit)
    near = min(run, hit.size - 1) if run < hit.size else run
    distance = np.arange(near + 1).size * (rows - near / 2)
    largest = hit.size * (hit.size - 1) / 2
    weights = np.where(rows <= run, 1.0, 1 - distance / largest if largest > 0 else 1.0)
    return float(weights.sum())
