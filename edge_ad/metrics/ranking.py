"""How well scores rank anomalous above normal inputs, and how alike two forms of a network rank them."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.optimize import brentq
from scipy.stats import norm, rankdata, spearmanr
from sklearn.metrics import roc_auc_score

from edge_ad.bundle.manifest import Finite, Rate, Spec
from edge_ad.errors import DataError, QualityError
from edge_ad.metrics.checks import (
    CONFIDENCE,
    BoolArray,
    FloatArray,
    binary_labels,
    finite_scores,
    paired_scores,
)

_Z = float(norm.ppf((1 + CONFIDENCE) / 2))


class Auroc(Spec):
    """Area under the ROC curve, with its 95 % interval and sample sizes."""

    value: Rate = Field(
        description="chance that a random anomalous input scores above a random normal one (ties count half)"
    )
    interval: tuple[Rate, Rate] = Field(description="95 % interval of `value`")
    n_normal: Annotated[int, Field(gt=0)] = Field(description="normal inputs")
    n_anomalous: Annotated[int, Field(gt=0)] = Field(description="anomalous inputs")


class AurocChange(Spec):
    """AUROC of the compiled scores minus AUROC of the float scores, on the same inputs."""

    value: Finite = Field(description="compiled minus float; negative means that compiling lost accuracy")
    interval: tuple[Finite, Finite] = Field(description="95 % interval of `value`, from the paired scores")


def auroc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> Auroc:
    """AUROC of scores (n,) against labels (n,), True for anomalous.

    The interval is Newcombe's (Confidence intervals for an effect size measure based on the Mann-Whitney
    statistic, part 2, Statist. Med. 25, 2006, method 5). DeLong's and the bootstrap's shrink to a point when
    the classes separate perfectly, which good detectors reach on small test sets; this one does not.

    Raises DataError for scores that are not finite, or when either class is missing.
    """
    values = finite_scores(scores, "scores")
    anomalous = _two_classes(labels, values.size)
    area = min(1.0, float(roc_auc_score(anomalous, values)))
    n_anomalous = int(anomalous.sum())
    n_normal = values.size - n_anomalous
    return Auroc(
        value=area,
        interval=_newcombe(area, n_anomalous, n_normal),
        n_normal=n_normal,
        n_anomalous=n_anomalous,
    )


def auroc_change(
    labels: npt.ArrayLike, float_scores: npt.ArrayLike, compiled_scores: npt.ArrayLike
) -> AurocChange:
    """AUROC(compiled) - AUROC(float) on the same inputs (n,), with DeLong's interval for paired curves.

    DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988; placements by mid-ranks after Sun and Xu, IEEE
    Signal Process. Lett. 21, 2014. Raises DataError as `auroc` does.
    """
    before, after = paired_scores(float_scores, compiled_scores)
    anomalous = _two_classes(labels, before.size)
    of_anomalous, of_normal = (
        b - a for a, b in zip(_placements(anomalous, before), _placements(anomalous, after), strict=True)
    )
    change = float(of_anomalous.mean())
    variance = sum(float(np.var(d, ddof=1)) / d.size for d in (of_anomalous, of_normal) if d.size > 1)
    half = _Z * math.sqrt(variance)
    return AurocChange(value=change, interval=(max(-1.0, change - half), min(1.0, change + half)))


def rank_correlation(float_scores: npt.ArrayLike, compiled_scores: npt.ArrayLike) -> float:
    """Spearman's rank correlation of two scores (n,) of the same inputs.

    Raises DataError for lengths that differ or non-finite scores, QualityError where it is not defined:
    fewer than two inputs, or scores that are all the same.
    """
    a, b = paired_scores(float_scores, compiled_scores)
    for name, values in (("float", a), ("compiled", b)):
        if values.size < 2 or np.ptp(values) == 0:
            raise QualityError(
                f"rank correlation needs two different {name} scores, got {values.size} alike",
                hint="hold back more images, or check that the network's output depends on its input",
            )
    return float(spearmanr(a, b).statistic)


def _two_classes(labels: npt.ArrayLike, n: int) -> BoolArray:
    anomalous = binary_labels(labels, n)
    if anomalous.all() or not anomalous.any():
        missing = "normal" if anomalous.all() else "anomalous"
        raise DataError(f"AUROC needs both classes, but there is no {missing} input")
    return anomalous


def _newcombe(area: float, m: int, n: int) -> tuple[float, float]:
    """The two areas from which the observed one lies 1.96 of *their* standard errors away."""
    mean_size = (m + n) / 2 - 1

    def excess(theta: float) -> float:
        spread = 1 + mean_size * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (area - theta) ** 2 - _Z**2 * theta * (1 - theta) * spread / (m * n)

    # at 0 and 1 the standard error vanishes, a second root that is not the one wanted
    low = 0.0 if area == 0 else float(brentq(excess, 0.0, min(area, 1 - 1e-12)))
    high = 1.0 if area == 1 else float(brentq(excess, max(area, 1e-12), 1.0))
    return low, high


def _placements(anomalous: BoolArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Share of normal inputs below each anomalous one, and of anomalous inputs above each normal one."""
    above, below = scores[anomalous], scores[~anomalous]
    ranks = rankdata(scores)
    of_anomalous = (ranks[anomalous] - rankdata(above)) / below.size
    of_normal = 1 - (ranks[~anomalous] - rankdata(below)) / above.size
    return of_anomalous, of_normal
