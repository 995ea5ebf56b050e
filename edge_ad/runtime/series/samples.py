"""The preprocessing of windows of samples whose features are taken further on, by a board: none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import PreprocessSpec
from edge_ad.errors import DataError

SAMPLES = "series/samples"
VERSION = 1


def samples_spec(length: int) -> PreprocessSpec:
    """The spec of `samples`."""
    return PreprocessSpec(name=SAMPLES, version=VERSION, params={"length": length})


def samples(data: npt.NDArray[np.generic], *, length: int) -> npt.NDArray[np.float32]:
    """A window (length, 1) of numbers as (1, length) float32. Raises DataError for another shape and for values that
    are not finite."""
    values = checked_samples(data, length)
    return np.asarray(values[None], np.float32)


def checked_samples(data: npt.NDArray[np.generic], length: int) -> npt.NDArray[np.float64]:
    """The values (length,) of a window (length, 1). Raises DataError as `samples` does."""
    if data.shape != (length, 1) or data.dtype.kind not in "fiu":
        raise DataError(f"a window ({length}, 1) of numbers is expected, not {data.shape} {data.dtype}")
    values = data[:, 0].astype(np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"row {row + 1} of the window holds {values[row]}")
    return values
