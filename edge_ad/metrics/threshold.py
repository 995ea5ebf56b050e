"""Threshold from an order statistic of held-back normal scores: distribution-free, with its interval.

With n exchangeable normal scores and no ties, the share of new normal inputs that exceed the r-th smallest
follows Beta(n + 1 - r, r), whatever the distribution of the scores (Wilks, Determination of Sample Sizes for
Setting Tolerance Limits, Ann. Math. Statist. 12, 1941; in the words of conformal prediction: Vovk,
Conditional Validity of Inductive Conformal Predictors, ACML 2012).

Ties: an alarm is a score *strictly above* the threshold, so equal scores make alarms rarer, never more
frequent. The expected rate and the interval's upper end then hold as bounds; the lower end does not.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, betabinom

from edge_ad.bundle.manifest import ScoreQuantiles, Threshold
from edge_ad.errors import QualityError, UsageError
from edge_ad.metrics.checks import CONFIDENCE, finite_scores

_TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


def calibrate_threshold(scores: npt.ArrayLike, max_false_alarms: float) -> Threshold:
    """The lowest order statistic whose expected false-alarm rate is at most `max_false_alarms`.

    scores: (n,) of held-back normal inputs, from the engine and options that the device will use. The value
    is one of these scores, so it survives float32 and JSON unchanged.

    Raises UsageError for a rate outside (0, 1), DataError for empty or non-finite scores, QualityError for a
    rate below 1 / (n + 1), the smallest that n scores support.
    """
    rate = _exact_rate(max_false_alarms)
    values = finite_scores(scores, "calibration scores")
    n = values.size
    above = math.floor(rate * (n + 1))  # of n + 1 exchangeable scores, how many may lie above the threshold
    if above < 1:
        needed = math.ceil(1 / rate) - 1
        raise QualityError(
            f"{n} held-back normal inputs cannot support a false-alarm rate of {max_false_alarms:g}; "
            f"the smallest they can is {_round_up(Fraction(1, n + 1)):g}",
            hint=f"ask for at least that, or hold back {needed} of them",
        )
    rank = n + 1 - above
    low, high = beta.ppf(_TAILS, above, rank)
    return Threshold(
        value=float(np.partition(values, rank - 1)[rank - 1]),
        requested_rate=float(max_false_alarms),
        expected_rate=above / (n + 1),
        interval=(float(low), float(high)),
        n=n,
        rank=rank,
    )


N_QUANTILES = 33


def reference_quantiles(scores: npt.ArrayLike) -> ScoreQuantiles:
    """What a stream's scores are compared with on the device: 33 evenly spaced quantiles, lowest and highest included.

    scores: (n,) of held-back normal inputs. Linear interpolation between order statistics. Raises DataError for empty
    or non-finite scores.
    """
    values = finite_scores(scores, "calibration scores")
    quantiles = np.quantile(values, np.linspace(0, 1, N_QUANTILES))
    return ScoreQuantiles(n=values.size, values=np.maximum.accumulate(quantiles).tolist())


def allowed_thresholds(
    scores: npt.ArrayLike, threshold: Threshold, wanted: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Thresholds, from and to, that a command may set on the device.

    wanted: what the user says. Else from the median of the normal scores, below which every second normal input would
    be an alarm, to four times as far above the median as the threshold is, and at least to the highest normal score.
    Raises UsageError for limits that do not hold the threshold.
    """
    if wanted is not None:
        if not wanted[0] <= threshold.value <= wanted[1]:
            raise UsageError(
                f"the threshold {threshold.value:g} is not in its range, {wanted[0]:g} to {wanted[1]:g}",
                hint="give a wider --threshold-range",
            )
        return float(wanted[0]), float(wanted[1])
    values = finite_scores(scores, "calibration scores")
    median = float(np.median(values))
    low = min(median, threshold.value)
    return low, max(float(values.max()), threshold.value + 4 * (threshold.value - low))


def predictive_interval(threshold: Threshold, n_new: int) -> tuple[float, float]:
    """Central 95 % interval of the false-alarm rate *observed* on `n_new` new normal inputs.

    Wider than `threshold.interval`, which is of the true rate: the count of alarms among n_new follows the
    beta-binomial distribution with n_new trials and the Beta parameters of the order statistic. Both ends are
    attainable rates, k / n_new. Raises UsageError unless n_new > 0.
    """
    if n_new < 1:
        raise UsageError(f"a rate on {n_new} new inputs is not defined", hint="give at least one")
    above = threshold.n + 1 - threshold.rank
    low, high = betabinom.ppf(_TAILS, n_new, above, threshold.rank)
    return float(low) / n_new, float(high) / n_new


def smallest_rate(n: int) -> float:
    """The smallest false-alarm rate that n held-back normal inputs support, 1 / (n + 1)."""
    return 1 / (n + 1)


def _exact_rate(rate: float) -> Fraction:
    """The decimal that the user wrote: 0.29 as 29/100, since 0.29 * 100 < 29 in binary."""
    if not 0 < rate < 1:
        raise UsageError(f"a false-alarm rate of {rate} is not between 0 and 1", hint="for 1 % give 0.01")
    return Fraction(repr(float(rate)))


def _round_up(rate: Fraction) -> float:
    """`rate` rounded up to 4 significant digits, so that asking for the printed figure succeeds."""
    digits = 4 - math.ceil(math.log10(rate))
    return math.ceil(rate * 10**digits) / 10**digits
