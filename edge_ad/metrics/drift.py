"""What compilation did to the scores of held-back normal inputs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import Drift, Thresholds
from edge_ad.metrics.checks import paired_scores
from edge_ad.metrics.ranking import rank_correlation


def drift(float_scores: npt.ArrayLike, compiled_scores: npt.ArrayLike, thresholds: Thresholds) -> Drift:
    """Compare two scores (n,) of the same held-back normal inputs; the fields are explained at `Drift`.

    The spread is a sample standard deviation (n - 1), and so is that of the float scores, the unit.

    Raises DataError for lengths that differ or scores that are not finite, QualityError for fewer than two
    inputs or scores that are all the same, on which no correlation is defined.
    """
    before, after = paired_scores(float_scores, compiled_scores)
    correlation = rank_correlation(before, after)  # first: it refuses what has no standard deviation
    unit = before.std(ddof=1)
    shift = (after - before) / unit
    alarm_float = before > thresholds.float_.value
    alarm_kept = after > thresholds.float_.value
    alarm_recalibrated = after > thresholds.compiled.value
    return Drift(
        n=before.size,
        rank_correlation=correlation,
        mean_shift=float(shift.mean()),
        spread=float(shift.std(ddof=1)),
        flips_kept=float(np.mean(alarm_float != alarm_kept)),
        flips_recalibrated=float(np.mean(alarm_float != alarm_recalibrated)),
        false_alarms_kept=float(alarm_kept.mean()),
        false_alarms_recalibrated=float(alarm_recalibrated.mean()),
    )
