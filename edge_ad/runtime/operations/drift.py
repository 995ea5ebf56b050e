"""Whether a stream's scores still look like those that its threshold was calibrated on.

A threshold holds for inputs like the calibration's. A lens that gets dirty, a lamp that ages, a sensor that drifts move
all scores a little, long before (or without ever) making an alarm; this says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import ScoreQuantiles

WINDOW = 500
EFFECT = 0.25
LEVEL = 1e-4
IN_A_ROW = 2

Floats = npt.NDArray[np.float64]
Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Drift:
    """What a window of scores showed. distance: Kolmogorov-Smirnov, 0 to 1. direction: where the scores lie, compared
    with the calibration's. drifted: whether that has been so for long enough to be said."""

    distance: float
    direction: Direction
    drifted: bool


class DriftMonitor:
    """Compares every `window` scores with the calibration's, by the Kolmogorov-Smirnov distance on its quantiles.

    Drifted: the distance exceeds both `effect` and what two samples of these sizes would exceed by chance at `level`
    (Smirnov's asymptotic bound), in two windows in a row; recovered likewise. Since anomalies of a share s move the
    distance by at most s, events that take less than a quarter of a window do not count as drift. Scores of one window
    that depend on each other are fewer than they look: that is what `effect` and the second window are for.
    """

    def __init__(
        self, reference: ScoreQuantiles, *, window: int = WINDOW, effect: float = EFFECT, level: float = LEVEL
    ):
        self.last: Drift | None = None
        self._window = window
        self._grid = np.asarray(reference.values)
        n = reference.n
        self._limit = max(effect, math.sqrt(-math.log(level / 2) / 2 * (n + window) / (n * window)))
        self._expected = _expected(self._grid)
        self._scores = np.empty(window)
        self._count = 0
        self._drifted = False
        self._in_a_row = 0  # windows that say otherwise

    def add(self, score: float) -> Drift | None:
        """Take the next score; what the window showed, with the last of each."""
        self._scores[self._count] = score
        self._count += 1
        if self._count < self._window:
            return None
        self._count = 0
        found = np.searchsorted(np.sort(self._scores), self._grid, side="right") / self._window
        off = found - self._expected
        worst = int(np.argmax(np.abs(off)))
        distance = float(abs(off[worst]))
        self._in_a_row = self._in_a_row + 1 if (distance > self._limit) != self._drifted else 0
        if self._in_a_row == IN_A_ROW:
            self._drifted, self._in_a_row = not self._drifted, 0
        self.last = Drift(distance, "lower" if off[worst] > 0 else "higher", self._drifted)
        return self.last


def _expected(grid: Floats) -> Floats:
    """The share of the calibration's scores at or below each quantile; of equal ones, that of the last."""
    shares = np.linspace(0.0, 1.0, len(grid))
    found: Floats = shares[np.searchsorted(grid, grid, side="right") - 1]
    return found
