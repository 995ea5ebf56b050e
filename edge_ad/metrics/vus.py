"""Volume under the surface: AUC over thresholds and over how near a hit must be to an anomaly.

Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin, Volume Under the Surface, PVLDB 15, 2022; in the form that the
TSB-AD benchmark uses (Liu and Paparrizos, NeurIPS 2024), with one difference: instead of 250 thresholds by rank all
distinct scores are thresholds, so the figure is exact and equal scores are never told apart.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edge_ad.bundle.manifest import Spec
from edge_ad.errors import UsageError
from edge_ad.metrics.checks import BoolArray, FloatArray
from edge_ad.metrics.series_labels import labelled_scores, last_of_ties, ranges

Area = Annotated[float, Field(ge=0, le=1)]


class Vus(Spec):
    """Volumes under the precision-recall and the ROC surface."""

    pr: Area = Field(description="VUS-PR: area under precision and recall, mean over buffers; 1 is perfect")
    roc: Area = Field(description="VUS-ROC: area under the ROC curve, mean over buffers")
    buffer: Annotated[int, Field(ge=0)] = Field(description="longest buffer, rows")
    n_anomalies: Annotated[int, Field(gt=0)] = Field(description="labelled anomalies: ranges of rows")


def vus(labels: npt.ArrayLike, scores: npt.ArrayLike, buffer: int) -> Vus:
    """VUS-PR and VUS-ROC of point-wise scores (T,), labels (T,) True for anomalous rows.

    buffer: the longest; the surface is averaged over lengths l = 0 … buffer. With length l the l // 2 rows before and
    after an anomaly count as sqrt(1 - distance / l) anomalous. Recall is multiplied by the share of anomalies, with
    their buffers, that have any hit. Raises DataError for lengths that differ, scores that are not finite and labels of
    one kind only, UsageError for a negative buffer.
    """
    anomalous, values = labelled_scores(labels, scores)
    if buffer < 0:
        raise UsageError(f"a buffer of {buffer} rows cannot be")
    order = np.argsort(-values, kind="stable")
    stops = last_of_ties(values[order])
    rank = np.empty(values.size, np.intp)
    rank[order] = np.arange(values.size)
    segments = ranges(anomalous)
    areas = [_areas(anomalous, segments, length, order, rank, stops) for length in range(buffer + 1)]
    roc, pr = np.clip(np.mean(areas, axis=0), 0, 1)
    return Vus(pr=float(pr), roc=float(roc), buffer=buffer, n_anomalies=len(segments))


def extended(anomalous: BoolArray, segments: list[tuple[int, int]], length: int) -> FloatArray:
    """Labels (T,) with sloping buffers of `length` // 2 rows on both sides of each anomaly, at most 1."""
    soft = anomalous.astype(np.float64)
    for first, last in segments:
        after = np.arange(last + 1, min(last + length // 2 + 1, soft.size))
        soft[after] += np.sqrt(1 - (after - last) / length)
        before = np.arange(max(first - length // 2, 0), first)
        soft[before] += np.sqrt(1 - (first - before) / length)
    return np.minimum(soft, 1.0)


def _areas(
    anomalous: BoolArray, segments: list[tuple[int, int]], length: int, order: npt.NDArray[np.intp],
    rank: npt.NDArray[np.intp], stops: npt.NDArray[np.intp],
) -> tuple[float, float]:  # fmt: skip
    """Areas under ROC and precision-recall for one buffer length. rank: place of each row, order: the reverse."""
    soft = extended(anomalous, segments, length)
    hits = np.cumsum(soft[order])[stops]
    positives = anomalous.sum()
    # Half way between the anomalies alone and with what of their buffers is predicted.
    size = positives + np.cumsum(np.where(anomalous, 0.0, soft)[order])[stops] / 2
    predicted = stops + 1.0
    existence = _existence(segments, length, rank, stops)
    recall = np.minimum(hits / size, 1.0) * existence
    false_alarms = (predicted - hits) / (rank.size - size)
    curve_x = np.concatenate([[0.0], false_alarms, [1.0]])
    curve_y = np.concatenate([[0.0], recall, [1.0]])
    roc = float(np.sum(np.diff(curve_x) * (curve_y[1:] + curve_y[:-1]) / 2))
    pr = float(np.sum(np.diff(curve_y[:-1]) * hits / predicted))
    return roc, pr


def _existence(
    segments: list[tuple[int, int]], length: int, rank: npt.NDArray[np.intp], stops: npt.NDArray[np.intp]
) -> FloatArray:
    """Share of anomalies, joined where their buffers meet, with any predicted row, at each threshold."""
    half = length // 2
    joined: list[list[int]] = []
    for first, last in segments:
        if joined and joined[-1][1] >= first - half:
            joined[-1][1] = last + half
        else:
            joined.append([max(first - half, 0), last + half])
    found = np.sort([int(rank[a : b + 1].min()) for a, b in joined])
    return np.searchsorted(found, stops, side="right") / len(joined)
