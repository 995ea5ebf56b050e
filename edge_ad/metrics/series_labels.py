"""What the metrics of series share: anomalous ranges, and thresholds between scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.errors import DataError
from edge_ad.metrics.checks import BoolArray, FloatArray, binary_labels, finite_scores


def labelled_scores(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[BoolArray, FloatArray]:
    """Labels and scores (T,) of a series. Raises DataError as the checks do, and unless both kinds of rows occur."""
    values = finite_scores(scores, "scores")
    anomalous = binary_labels(labels, values.size)
    if anomalous.all() or not anomalous.any():
        missing = "normal" if anomalous.all() else "anomalous"
        raise DataError(f"needs rows of both kinds, but there is no {missing} one")
    return anomalous, values


def ranges(anomalous: BoolArray) -> list[tuple[int, int]]:
    """First and last row of each anomaly, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], anomalous, [False]]).astype(np.int8)))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def last_of_ties(descending: FloatArray) -> npt.NDArray[np.intp]:
    """Places in scores sorted downwards after which the score changes: rows of one score pass a threshold together."""
    return np.append(np.flatnonzero(np.diff(descending)), descending.size - 1)
