"""The preprocessing of series: each channel to the mean and spread that it had when the detector was fitted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import PreprocessSpec
from edge_ad.errors import DataError

STANDARDISE = "series/standardise"
VERSION = 1
MAX_STANDARD = 1e4  # beyond it a value says no more, and squares would leave what float32 resolves


def standardise_spec(mean: Sequence[float], std: Sequence[float]) -> PreprocessSpec:
    """The spec of `standardise`: mean and standard deviation (> 0) of each channel of the data of the fit."""
    return PreprocessSpec(
        name=STANDARDISE,
        version=VERSION,
        params={"mean": [float(m) for m in mean], "std": [float(s) for s in std]},
    )


def standardise(
    data: npt.NDArray[np.generic], *, mean: Sequence[float], std: Sequence[float]
) -> npt.NDArray[np.float32]:
    """A window (length, C) of numbers as (1, C, length) float32: (value - mean) / std in float64, rounded once.

    Values further than `MAX_STANDARD` standard deviations off are taken as so far off. Raises DataError for another
    number of channels and for values that are not finite.
    """
    if data.ndim != 2 or data.shape[1] != len(mean) or data.dtype.kind not in "fiu":
        raise DataError(
            f"a window (length, {len(mean)}) of numbers is expected, not {data.shape} {data.dtype}"
        )
    values = data.astype(np.float64)
    if not np.isfinite(values).all():
        row, channel = (int(i[0]) for i in np.nonzero(~np.isfinite(values)))
        raise DataError(f"row {row + 1} of the window holds {values[row, channel]} in channel {channel + 1}")
    scaled = (values - np.asarray(mean)) / np.asarray(std)
    return np.ascontiguousarray(np.clip(scaled, -MAX_STANDARD, MAX_STANDARD).T, np.float32)[None]
