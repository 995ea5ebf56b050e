"""What every metric asks of its inputs, refused in one clear line."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.errors import DataError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

CONFIDENCE = 0.95
"""Every interval of this package is a 95 % interval."""


def finite_scores(scores: npt.ArrayLike, what: str) -> FloatArray:
    """`scores` as float64 (n,), n > 0. Raises DataError when empty, not one-dimensional or not finite."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise DataError(f"{what} have shape {values.shape}, expected one score an input")
    if values.size == 0:
        raise DataError(f"there are no {what}", hint="check that the split holds images")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise DataError(
            f"{bad.size} of {values.size} {what} are not finite, the first at index {bad[0]}",
            hint="check the network's outputs on that input",
        )
    return values


def paired_scores(
    float_scores: npt.ArrayLike, compiled_scores: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Float and compiled scores of the same inputs, (n,) each. Raises DataError when their lengths differ."""
    a = finite_scores(float_scores, "float scores")
    b = finite_scores(compiled_scores, "compiled scores")
    if a.size != b.size:
        raise DataError(
            f"{a.size} float scores but {b.size} compiled scores, expected the same inputs for both"
        )
    return a, b


def binary_labels(labels: npt.ArrayLike, n: int) -> BoolArray:
    """Labels (n,), True for anomalous. Raises DataError on another length or on values beside 0 and 1."""
    values = np.asarray(labels)
    if values.shape != (n,):
        raise DataError(f"labels have shape {values.shape}, expected ({n},), one for each score")
    if not np.isin(values, (0, 1)).all():
        raise DataError("labels hold values other than 0 (normal) and 1 (anomalous)")
    return values.astype(np.bool_)
