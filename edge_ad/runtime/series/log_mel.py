"""The preprocessing of sound and vibration: log-mel features of a window, in the integers that boards compute.

The samples become those of a 16-bit converter first. All that follows is exact integer arithmetic
(`edge_ad.runtime.integer.log_mel`), so that fit, calibration, Linux devices and boards see the same features.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import PreprocessSpec
from edge_ad.errors import DataError, SchemaError
from edge_ad.runtime.integer.log_mel import LogMel, decibels, log_mel

LOG_MEL = "series/log-mel"
VERSION = 1
SAMPLE_LIMITS = (-(1 << 15), (1 << 15) - 1)


def log_mel_spec(features: LogMel, unit: float) -> PreprocessSpec:
    """The spec of `log_mel_features`. unit: what a step of the converter stands for, 2^-15 for sound from -1 to 1."""
    return PreprocessSpec(name=LOG_MEL, version=VERSION, params={"unit": unit, **asdict(features)})


def features_of(spec: PreprocessSpec) -> tuple[LogMel, float]:
    """What `log_mel_spec` was made of. Raises SchemaError for parameters that no features can have."""
    params = dict(spec.params)
    unit = params.pop("unit", None)
    if not isinstance(unit, float) or not 0 < unit < float("inf"):
        raise SchemaError(
            f"preprocessing '{LOG_MEL}' has no unit of the samples", hint="compile the model again"
        )
    return _checked(params), unit


def log_mel_features(data: npt.NDArray[np.generic], *, unit: float, **params: Any) -> npt.NDArray[np.float32]:
    """A window (length, 1) of numbers as log-mel features (1, frames * bands) float32, in dB, the oldest frame first.

    Samples are `integer_samples`; features are multiples of 1/128 dB and exact. Raises DataError as that does,
    SchemaError for parameters that no features can have.
    """
    features = _checked(params)
    return decibels(log_mel(integer_samples(data, features.length, unit), features))[None]


def integer_samples(data: npt.NDArray[np.generic], length: int, unit: float) -> npt.NDArray[np.int16]:
    """A window (length, 1) of numbers as (length,) int16: value / unit in float64, rounded half to even, saturated.

    Raises DataError for another shape and for values that are not finite.
    """
    if data.shape != (length, 1) or data.dtype.kind not in "fiu":
        raise DataError(f"a window ({length}, 1) of numbers is expected, not {data.shape} {data.dtype}")
    values = data[:, 0].astype(np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"row {row + 1} of the window holds {values[row]}")
    return np.clip(np.rint(values / unit), *SAMPLE_LIMITS).astype(np.int16)


def _checked(params: dict[str, Any]) -> LogMel:
    try:
        return LogMel(**params)
    except (TypeError, ValueError, OverflowError) as error:
        raise SchemaError(f"preprocessing '{LOG_MEL}': {error}", hint="compile the model again") from error
