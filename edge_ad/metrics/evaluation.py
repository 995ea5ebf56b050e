"""Figures on labelled test data, float beside compiled. For reporting only: nothing is chosen by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field
from scipy.stats import binomtest

from edge_ad.bundle.manifest import Rate, Spec, Thresholds
from edge_ad.errors import DataError
from edge_ad.metrics.aupimo import Aupimo, AupimoChange
from edge_ad.metrics.aupro import AuPro
from edge_ad.metrics.checks import CONFIDENCE, BoolArray, FloatArray, binary_labels, paired_scores
from edge_ad.metrics.ranking import Auroc, AurocChange, auroc, auroc_change
from edge_ad.metrics.threshold import predictive_interval


class Proportion(Spec):
    """`count` of `n`, with the exact (Clopper-Pearson) 95 % interval of the true rate."""

    rate: Rate = Field(description="`count` / `n`")
    count: Annotated[int, Field(ge=0)] = Field(description="how many")
    n: Annotated[int, Field(gt=0)] = Field(description="out of how many")
    interval: tuple[Rate, Rate] = Field(description="exact (Clopper-Pearson) 95 % interval of the true rate")


class FalseAlarms(Spec):
    """Alarms on good test inputs, for each way to set the threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    float_: Proportion = Field(alias="float", description="float network, its own threshold")
    kept: Proportion = Field(description="compiled network, the float threshold kept (what not to do)")
    recalibrated: Proportion = Field(description="compiled network, its own threshold (the one in use)")
    predicted: tuple[Rate, Rate] = Field(
        description="95 % interval in which `recalibrated` was to be expected on this many inputs, from the "
        "calibration alone"
    )
    within: bool = Field(description="whether `recalibrated` lies in `predicted`")


class Recall(Spec):
    """Anomalous test inputs found, for each way to set the threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    float_: Proportion = Field(alias="float", description="float network, its own threshold")
    kept: Proportion = Field(description="compiled network, the float threshold kept")
    recalibrated: Proportion = Field(description="compiled network, its own threshold (the one in use)")


class KindFigures(Spec):
    """One kind of anomaly against all normal test inputs."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    n: Annotated[int, Field(gt=0)] = Field(description="test inputs of this kind")
    auroc_float: Auroc | None = Field(
        default=None, description="AUROC of the float network, against normal inputs"
    )
    auroc_compiled: Auroc | None = Field(default=None, description="AUROC of the compiled network")
    found: Proportion = Field(description="inputs above the compiled threshold")


class SeriesFigures(Spec):
    """Row by row on series with both normal and anomalous rows, each series by itself and then averaged.

    The score of a row is that of the window whose newest rows it is among; rows before a first window have none.
    """

    vus_pr: Rate = Field(description="VUS-PR, mean over series")
    vus_roc: Rate = Field(description="VUS-ROC, mean over series")
    pate: Rate = Field(description="PATE, mean over series")
    buffer: Annotated[int, Field(ge=0)] = Field(description="longest buffer of all three, rows")
    n_series: Annotated[int, Field(gt=0)] = Field(description="series")
    n_anomalies: Annotated[int, Field(gt=0)] = Field(description="ranges of anomalous rows in them")


class TestFigures(Spec):
    """Accuracy on labelled test data. What needs a class or masks that the test data lacks is None."""

    __test__ = False  # not a test class, whatever its name

    n_normal: Annotated[int, Field(ge=0)] = Field(description="good test inputs")
    n_anomalous: Annotated[int, Field(ge=0)] = Field(description="anomalous test inputs")
    auroc_float: Auroc | None = Field(default=None, description="AUROC of the float network")
    auroc_compiled: Auroc | None = Field(default=None, description="AUROC of the compiled network")
    auroc_change: AurocChange | None = Field(default=None, description="compiled minus float, paired")
    aupro_float: AuPro | None = Field(default=None, description="AU-PRO of the float network's maps")
    aupro_compiled: AuPro | None = Field(default=None, description="AU-PRO of the compiled network's maps")
    aupimo_float: Aupimo | None = Field(
        default=None,
        description="AUPIMO of the float network's maps; null where good images have too few pixels",
    )
    aupimo_compiled: Aupimo | None = Field(default=None, description="AUPIMO of the compiled network's maps")
    aupimo_change: AupimoChange | None = Field(
        default=None, description="compiled minus float, image by image"
    )
    series_float: SeriesFigures | None = Field(default=None, description="row by row, float network")
    series_compiled: SeriesFigures | None = Field(default=None, description="row by row, compiled network")
    false_alarms: FalseAlarms | None = Field(default=None, description="alarms on good test inputs")
    recall: Recall | None = Field(default=None, description="anomalous test inputs found")
    kinds: dict[str, KindFigures] = Field(default={}, description="each kind of anomaly by itself")
    flips_kept: Proportion = Field(
        description="inputs whose verdict differs between float and compiled, both at the float threshold"
    )
    flips_recalibrated: Proportion = Field(
        description="inputs whose verdict differs between float and compiled, each at its own threshold"
    )


def proportion(count: int, n: int) -> Proportion:
    """`count` of `n` with its exact 95 % interval (Clopper and Pearson, Biometrika 26, 1934).

    Raises DataError when n is 0 or count is not within 0 and n.
    """
    if n < 1 or not 0 <= count <= n:
        raise DataError(f"{count} of {n} is no proportion")
    interval = binomtest(count, n).proportion_ci(CONFIDENCE, method="exact")
    return Proportion(rate=count / n, count=count, n=n, interval=(float(interval.low), float(interval.high)))


def evaluate_test(
    *,
    labels: npt.ArrayLike,
    float_scores: npt.ArrayLike,
    compiled_scores: npt.ArrayLike,
    thresholds: Thresholds,
    kinds: Sequence[str] | None = None,
    more: Mapping[str, Spec | None] | None = None,
) -> TestFigures:
    """All figures of one payload on labelled test inputs (n,), labels True for anomalous.

    kinds: (n,) the kind of each input, to be told apart in the figures. more: fields of the figures that are computed
    apart, since they need maps and masks, or rows of series. Raises DataError for lengths that differ,
    scores that are not finite, labels that are not 0 or 1.
    """
    before, after = paired_scores(float_scores, compiled_scores)
    anomalous = binary_labels(labels, before.size)
    alarm_float = before > thresholds.float_.value
    alarm_kept = after > thresholds.float_.value
    alarm_recalibrated = after > thresholds.compiled.value
    both = bool(anomalous.any() and not anomalous.all())
    return TestFigures(
        n_normal=int((~anomalous).sum()),
        n_anomalous=int(anomalous.sum()),
        auroc_float=auroc(anomalous, before) if both else None,
        auroc_compiled=auroc(anomalous, after) if both else None,
        auroc_change=auroc_change(anomalous, before, after) if both else None,
        kinds={} if kinds is None else _kinds(kinds, anomalous, before, after, alarm_recalibrated),
        false_alarms=_false_alarms(~anomalous, alarm_float, alarm_kept, alarm_recalibrated, thresholds),
        recall=_recall(anomalous, alarm_float, alarm_kept, alarm_recalibrated),
        flips_kept=_share(alarm_float != alarm_kept),
        flips_recalibrated=_share(alarm_float != alarm_recalibrated),
        **(more or {}),  # type: ignore[arg-type]
    )


def _kinds(
    kinds: Sequence[str], anomalous: BoolArray, before: FloatArray, after: FloatArray, alarm: BoolArray
) -> dict[str, KindFigures]:
    """Each kind of anomalous input against all normal ones."""
    names = np.asarray(kinds)
    both = not anomalous.all()
    figures = {}
    for name in sorted(set(names[anomalous].tolist())):
        own = (names == name) & anomalous
        among = own | ~anomalous
        figures[name] = KindFigures(
            n=int(own.sum()),
            auroc_float=auroc(own[among], before[among]) if both else None,
            auroc_compiled=auroc(own[among], after[among]) if both else None,
            found=_share(alarm[own]),
        )
    return figures


def _share(hits: BoolArray) -> Proportion:
    return proportion(int(np.count_nonzero(hits)), hits.size)


def _false_alarms(
    normal: BoolArray, float_: BoolArray, kept: BoolArray, recalibrated: BoolArray, thresholds: Thresholds
) -> FalseAlarms | None:
    if not normal.any():
        return None
    now = _share(recalibrated[normal])
    low, high = predictive_interval(thresholds.compiled, now.n)
    return FalseAlarms(
        float_=_share(float_[normal]),
        kept=_share(kept[normal]),
        recalibrated=now,
        predicted=(low, high),
        within=low <= now.rate <= high,
    )


def _recall(
    anomalous: BoolArray, float_: BoolArray, kept: BoolArray, recalibrated: BoolArray
) -> Recall | None:
    if not anomalous.any():
        return None
    return Recall(
        float_=_share(float_[anomalous]),
        kept=_share(kept[anomalous]),
        recalibrated=_share(recalibrated[anomalous]),
    )
