"""The majority rule of RoLA: a channel that stands out alone among channels that move together is no anomaly.

M.-C. Lee and J.-C. Lin, "RoLA: A Real-Time Online Lightweight Anomaly Detection System for Multivariate Time Series"
(ICSOFT 2023): one detector a variable, correlations between the variables found on the fly, and an anomaly only where
the majority of those that are correlated agree. Here one network gives a score for each channel, and the correlation is
Spearman's in place of Pearson's: a fault stays in the window for a while, and a few wild values must not make channels
look unrelated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import InputSpec
from edge_ad.errors import EngineError, UsageError
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.scorer import Scored


@dataclass(frozen=True)
class Majority:
    """correlation: two channels move together when the absolute value of their rank correlation (Spearman) is at
    least this.
    hop: newest rows of a window, which are what is judged and not what correlation is measured on."""

    correlation: float
    hop: int

    def stands(
        self, window: npt.NDArray[np.generic], channels: npt.NDArray[np.float32], level: float
    ) -> bool:
        """Whether a frame that scores above `level` does so by more than a channel's own whim.

        window: (length, C); channels: (C,) what each of them adds to the score, in its unit. True when some channel
        above the level has more than half of its group, itself and all that move with it, above the level. A channel
        that moves with no other decides alone. Nothing is remembered from frame to frame, so a replay and a restart
        come to the same.
        """
        above = channels > level
        together = _together(np.asarray(window, np.float64)[: -self.hop], self.correlation)
        return any(above[together[i]].mean() > 0.5 for i in np.flatnonzero(above))

    def cap(self, sample: Sample, scored: Scored, level: float) -> float:
        """The score to judge by: of a frame that does not stand, at most `level`. Raises EngineError where the network
        gives no scores by channel."""
        if scored.score <= level:
            return scored.score
        if scored.channels is None:
            raise EngineError("the majority rule needs scores by channel, which this detector does not give")
        return scored.score if self.stands(sample.data, scored.channels, level) else level


def majority(correlation: float, input: InputSpec) -> Majority:
    """The rule for a bundle's input. Raises UsageError where that is no series of several channels with a past."""
    window = input.window
    if window is None or input.modality != "series" or len(window.channels) < 2:
        raise UsageError("'majority' needs a series of two channels or more")
    if window.length - window.hop < 2:
        raise UsageError("'majority' needs windows that overlap by two rows or more")
    return Majority(correlation, window.hop)


def _together(rows: npt.NDArray[np.float64], limit: float) -> npt.NDArray[np.bool_]:
    """(C, C): which channels of `rows` (n, C) move together; each with itself, a constant one with no other."""
    ranks = np.stack([_ranks(column) for column in rows.T], axis=1)
    centred = ranks - ranks.mean(axis=0)
    norm = np.linalg.norm(centred, axis=0)
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
    found: npt.NDArray[np.bool_] = np.abs(unit.T @ unit) >= limit
    np.fill_diagonal(found, True)
    return found


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The rank of each value; equal ones have the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean = np.cumsum(counts) - (counts - 1) / 2
    found: npt.NDArray[np.float64] = mean[place.ravel()]
    return found
