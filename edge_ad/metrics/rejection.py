"""The third verdict, `uncertain`: where another calibration sample might well have said otherwise.

ExCeeD (Perini, Vercruyssen and Davis, Quantifying the Confidence of Anomaly Detectors in Their Example-Wise
Predictions, ECML PKDD 2020, section 3) asks of each verdict how likely it is to stay the same when the n scores
behind the threshold are drawn anew. With `below` of them under a score s, a new one falls under s with the
posterior mean p = (1 + below) / (2 + n), and s lies above the new threshold, the `rank`-th smallest of n, when
`rank` or more of n new scores fall under it:

    P(anomalous) = P(Binomial(n, p) >= rank),    P(normal) = 1 - P(anomalous).

In the paper rank is n (1 - gamma) + 1; here gamma n is what an order-statistic threshold lets lie above it,
n + 1 - rank. The paper counts scores <= s, where `below` counts those < s, since an alarm is a score *strictly*
above its threshold: that differs at calibration scores only, and makes the formula exact with ties.

RejEx (Perini and Davis, Unsupervised Anomaly Detection with Rejection, NeurIPS 2023) rejects a verdict that is
less stable than a constant, which needs no labels. `below` never falls as s rises, so what is rejected is an
interval of scores, and a device compares with its two ends instead of evaluating binomials.

P takes p for known. The sample at hand is itself one draw, so on average over samples a verdict at an end of the
band holds less often: asked for 0.9, in about 0.82 of later calibrations; asked for 0.99, in about 0.95.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, poisson

from edge_ad.bundle.manifest import Rejection, Threshold
from edge_ad.errors import QualityError, UsageError
from edge_ad.metrics.checks import finite_scores

REJEX_STABILITY: Final = 1 - math.exp(-32)
"""RejEx's constant, as a probability. The paper asks 2 |P - 1/2| >= 1 - 2 exp(-T) with T = 32, in which P is
ExCeeD's probability of one verdict; of the verdict given, that is P >= 1 - exp(-T)."""


def rejection_band(scores: npt.ArrayLike, threshold: Threshold, stability: float) -> Rejection:
    """The scores around `threshold` whose verdict is less stable than `stability`: (lower, upper].

    scores: (n,) of held-back normal inputs, those that `threshold` was calibrated on. stability: in (0.5, 1), the
    least probability that a verdict stays what it is when the threshold is calibrated on n other normal inputs.

    Both ends are calibration scores, so they survive float32 and JSON unchanged, and lower <= threshold <= upper:
    the largest score whose verdict `normal` is stable, and the largest whose verdict `anomalous` is not. Every
    score above `upper` is stably anomalous, also where `upper` is the largest calibration score. lower equals
    upper, a band that rejects nothing, when each verdict is stable enough.

    Raises UsageError for a stability outside (0.5, 1) or scores that `threshold` does not come from, DataError for
    empty or non-finite scores, QualityError when no score, however extreme, would be stable (`largest_stability`).
    """
    if not 0.5 < stability < 1:
        raise UsageError(
            f"a stability of {stability} is not between 0.5 and 1",
            hint="for verdicts that hold in 95 of 100 calibrations give 0.95",
        )
    values = np.sort(finite_scores(scores, "calibration scores"))
    _check_source(values, threshold)
    _check_support(threshold, stability)
    n, rank, above = threshold.n, threshold.rank, threshold.n + 1 - threshold.rank
    p = (1 + np.arange(n + 1)) / (2 + n)  # of a score with 0, 1, …, n below it or, mirrored, above it
    doubt = 1 - stability  # exact (Sterbenz), so that tails far below 1e-16 of 1 can be compared
    n_normal = int(np.count_nonzero(binom.sf(rank - 1, n, p) <= doubt))
    n_anomalous = int(np.count_nonzero(binom.sf(above - 1, n, p) <= doubt))
    # With `below` = 0, …, n_normal - 1 a normal verdict is stable: up to the n_normal-th smallest score. Low
    # stabilities and few scores, where p is pulled to 1/2, must not carry either end over the threshold.
    lower = values[min(n_normal, rank) - 1]
    upper = values[max(n + 1 - n_anomalous, rank) - 1]
    rejected = np.count_nonzero(values <= upper) - np.count_nonzero(values <= lower)
    return Rejection(
        lower=float(lower),
        upper=float(upper),
        stability=float(stability),
        expected_rate=rejected / (n + 1),
        n=n,
    )


def largest_stability(threshold: Threshold) -> float:
    """The stability that the most extreme score of all has: the largest that `threshold.n` scores can support.

    A score above all n is called normal by another calibration when `above` = n + 1 - rank or more of n new scores
    exceed it, each with chance 1 / (n + 2); one below all, anomalous when `rank` or more fall under it. So it is
    P(Binomial(n, 1 / (n + 2)) < min(above, rank)): for large n Poisson's with mean 1, whatever n. With
    above = 1, 2, 3, … that is 0.37, 0.74, 0.92, 0.98, 0.996, 0.9994, …
    """
    return 1 - _least_doubt(threshold)


def _least_doubt(threshold: Threshold) -> float:
    fewest = min(threshold.n + 1 - threshold.rank, threshold.rank)
    return float(binom.sf(fewest - 1, threshold.n, 1 / (threshold.n + 2)))


def _check_source(values: npt.NDArray[np.float64], threshold: Threshold) -> None:
    if values.size != threshold.n or values[threshold.rank - 1] != threshold.value:
        raise UsageError(
            f"the threshold {threshold.value:g} is not the {threshold.rank}-th smallest of these {values.size} scores",
            hint="give the scores that it was calibrated on",
        )


def _check_support(threshold: Threshold, stability: float) -> None:
    """Refuse a stability that no score would reach."""
    doubt = _least_doubt(threshold)
    if doubt <= 1 - stability:
        return
    largest = _round_down(doubt)
    none = "high, is anomalous" if threshold.n + 1 - threshold.rank <= threshold.rank else "low, is normal"
    needed = _inputs_needed(threshold.requested_rate, stability)
    hint = f"hold back {needed} of them, or allow more false alarms"
    if float(largest) > 0.5:
        hint = f"ask for {largest}, the largest that they support, {hint}"
    raise QualityError(
        f"with {threshold.n} held-back normal inputs and a false-alarm rate of {threshold.requested_rate:g} no score, "
        f"however {none} with a stability of {float(stability)!r}",
        hint=hint,
    )


def _inputs_needed(rate: float, stability: float) -> int:
    """A number of scores from which on `stability` is supported at a false-alarm rate.

    Binomial(n, 1 / (n + 2)) reaches a count less often than Poisson's distribution with mean 1, at every n, so
    the Poisson quantile, `fewest`, says how many ranks there must be on either side of the threshold: above it,
    floor(rate (n + 1)) >= fewest, and up to it, n + 1 - floor(rate (n + 1)) >= fewest.
    """
    fewest = 1 + int(poisson.isf(1 - stability, 1))
    exact = Fraction(repr(rate))
    return max(math.ceil(fewest / exact), math.floor((fewest - 1) / (1 - exact)) + 1) - 1


def _round_down(doubt: float) -> str:
    """1 - doubt to two digits of the doubt, rounded down, so that asking for the printed figure succeeds."""
    digits = 1 - math.floor(math.log10(doubt))
    return f"{1 - math.ceil(doubt * 10**digits) / 10**digits:.{digits}f}"
