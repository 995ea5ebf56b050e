"""How well the scores of one form of a network agree with those of the float network: what the search goes by.

No label is needed: normal inputs and altered copies of them are scored by both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.stats import kendalltau

from edge_ad.bundle.manifest import Finite, Spec
from edge_ad.errors import QualityError
from edge_ad.metrics.ranking import auroc, rank_correlation

FloatArray = npt.NDArray[np.floating]


class Agreement(Spec):
    """Scores of one form against the float network's, on the same normal inputs and altered copies."""

    drift: Annotated[Finite, Field(ge=0)] = Field(
        description="spread (standard deviation) of the scores' shift, in standard deviations of the float scores; the "
        "larger one of normal inputs and of altered copies, each in its own unit"
    )
    mean_shift: Finite = Field(
        description="mean shift of the normal inputs' scores, in the same unit; a threshold of its own removes it"
    )
    rank_agreement: Finite = Field(
        description="Kendall's tau-b of both forms' scores, normal inputs and altered copies together"
    )
    rank_correlation: Finite = Field(description="Spearman's, of the same")
    auroc_drop: Finite = Field(
        description="AUROC of altered copies against normal inputs, the float network's less this form's"
    )


@dataclass(frozen=True)
class ScorePair:
    """Scores of the search's inputs by one form: normal (n,), altered (m,)."""

    normal: FloatArray
    altered: FloatArray


@dataclass(frozen=True)
class Tolerance:
    """What a form may lose. score_drift: of `Agreement.drift`, at most; auroc_drop: likewise, None for any."""

    score_drift: float = 0.1
    auroc_drop: float | None = None

    def holds(self, found: Agreement) -> bool:
        """Whether a form keeps within it."""
        return found.drift <= self.score_drift and (
            self.auroc_drop is None or found.auroc_drop <= self.auroc_drop
        )

    def __str__(self) -> str:
        drop = "" if self.auroc_drop is None else f" and an AUROC drop of {self.auroc_drop:g}"
        return f"a score drift of {self.score_drift:g}{drop}"


def agreement(before: ScorePair, after: ScorePair) -> Agreement:
    """The form `after` against the float network `before`.

    Raises QualityError where scores do not differ among each other, so that they have no unit and no order.
    """
    groups = [(before.normal, after.normal), (before.altered, after.altered)]
    shifts = []
    for old, new in groups:
        unit = old.std(ddof=1) if old.size > 1 else 0.0
        if not unit > 0:
            raise QualityError(
                "the float scores of the calibration inputs are all alike, so that no drift can be told",
                hint="calibrate on more inputs, or name the layers to keep",
            )
        shifts.append((new.astype(np.float64) - old) / unit)
    both_before, both_after = (np.concatenate([pair.normal, pair.altered]) for pair in (before, after))
    labels = np.repeat([False, True], [before.normal.size, before.altered.size])
    return Agreement(
        drift=max(float(shift.std(ddof=1)) for shift in shifts),
        mean_shift=float(shifts[0].mean()),
        rank_agreement=float(kendalltau(both_before, both_after).statistic),
        rank_correlation=rank_correlation(both_before, both_after),
        auroc_drop=auroc(labels, both_before).value - auroc(labels, both_after).value,
    )
