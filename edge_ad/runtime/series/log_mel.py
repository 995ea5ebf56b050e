"""The preprocessing of sound and vibration: log-mel features of a window, in the integers that boards compute.

The samples become those of a 16-bit converter first. All that follows is exact integer arithmetic
(`edge_ad.runtime.integer.log_mel`), so that fit, calibration, Linux devices and boards see the same features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import PreprocessSpec
from edge_ad.errors import SchemaError
from edge_ad.runtime.integer.log_mel import STANDARD_UNIT, LogMel, log_mel, standardised
from edge_ad.runtime.series.samples import checked_samples

LOG_MEL = "series/log-mel"
VERSION = 1
_MOST_GAIN = (1 << 31) - 1

Int16 = npt.NDArray[np.int16]


@dataclass(frozen=True)
class LogMelFront:
    """What the features of a detector are. unit: what a step of the converter stands for, 2^-15 for sound from -1 to 1.
    means, gains: of each band, as of `edge_ad.runtime.integer.log_mel.standardised`."""

    features: LogMel
    unit: float
    means: tuple[int, ...]
    gains: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raises ValueError for what there cannot be."""
        if not 0 < self.unit < float("inf"):
            raise ValueError(f"samples in units of {self.unit}")
        for name, values, most in (("means", self.means, 1 << 15), ("gains", self.gains, _MOST_GAIN)):
            whole = all(type(value) is int and -most <= value < most for value in values)
            if not whole or len(values) != self.features.bands:
                raise ValueError(f"{name} are not those of {self.features.bands} bands")

    def __call__(self, samples: Int16) -> Int16:
        """Standardised features (…, bands, frames) of windows (…, length) of samples; a step is `STANDARD_UNIT`."""
        return standardised(log_mel(samples, self.features), self.means, self.gains)

    @property
    def spec(self) -> PreprocessSpec:
        """As it stands in a manifest."""
        params = {"unit": self.unit, "means": list(self.means), "gains": list(self.gains)}
        return PreprocessSpec(name=LOG_MEL, version=VERSION, params={**asdict(self.features), **params})


def log_mel_front(spec: PreprocessSpec) -> LogMelFront | None:
    """What a manifest's preprocessing says, None where it is another one. Raises SchemaError."""
    return _front(**spec.params) if (spec.name, spec.version) == (LOG_MEL, VERSION) else None


def log_mel_features(data: npt.NDArray[np.generic], **params: Any) -> npt.NDArray[np.float32]:
    """A window (length, 1) of numbers as standardised log-mel features (1, bands, frames) float32.

    They are multiples of `STANDARD_UNIT` and exact. params: as of `LogMelFront.spec`. Raises DataError as
    `integer_samples` does, SchemaError for parameters that no features can have.
    """
    front = _front(**params)
    features = front(integer_samples(data, front.features.length, front.unit))
    return np.asarray(features[None] * np.float32(STANDARD_UNIT), np.float32)


def integer_samples(data: npt.NDArray[np.generic], length: int, unit: float) -> Int16:
    """A window (length, 1) of numbers as (length,) int16: value / unit in float64, rounded half to even, saturated.

    Raises DataError for another shape and for values that are not finite.
    """
    values = checked_samples(data, length)
    return np.clip(np.rint(values / unit), -(1 << 15), (1 << 15) - 1).astype(np.int16)


def _front(*, unit: float, means: Sequence[int], gains: Sequence[int], **params: Any) -> LogMelFront:
    try:
        return LogMelFront(LogMel(**params), unit, tuple(means), tuple(gains))
    except (TypeError, ValueError, OverflowError) as error:
        raise SchemaError(f"preprocessing '{LOG_MEL}': {error}", hint="compile the model again") from error
