"""A precision plan as the report holds it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edge_ad.bundle.manifest import Finite, Rate, Spec
from edge_ad.compile.sensitivity.agreement import Agreement

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class LayerPlan(Spec):
    """One layer, or a module of several that were kept or quantized together."""

    name: str = Field(description="where it lies in the network, as `--keep` takes it")
    layers: Annotated[int, Field(gt=0)] = Field(description="how many layers it is")
    macs: Count = Field(description="multiply-accumulates an inference, of a sum its additions")
    share: Share = Field(description="its part of all of them: its price")
    alone: Agreement = Field(
        description="what quantizing it alone does, everything else in float: its sensitivity"
    )
    kept: bool = Field(description="whether it stays in higher precision")


class PlanStep(Spec):
    """A form that was measured on the way to the choice."""

    kept: list[str] = Field(description="what stayed in higher precision, all else quantized")
    share: Share = Field(description="its part of all multiply-accumulates")
    agreement: Agreement = Field(description="what that form does to the scores")
    holds: bool = Field(description="whether it holds the tolerance")


class PrecisionPlan(Spec):
    """The layers that stay in higher precision, why, and at what price. It rests on calibration inputs and altered
    copies of them; no label took part."""

    max_score_drift: Annotated[Finite, Field(ge=0)] = Field(
        description="tolerance: drift of the scores, at most"
    )
    max_auroc_drop: Rate | None = Field(
        default=None, description="tolerance: drop of AUROC on altered copies, at most; null for any"
    )
    normal: Annotated[int, Field(gt=0)] = Field(description="normal calibration inputs that were scored")
    altered: Annotated[int, Field(gt=0)] = Field(description="altered copies that were scored")
    before: Agreement = Field(description="the form with every layer quantized")
    after: Agreement = Field(description="the form that was chosen")
    kept: list[str] = Field(description="layers that stay in higher precision")
    kept_share: Share = Field(description="their part of all multiply-accumulates")
    layers: list[LayerPlan] = Field(
        description="sensitivity and price of each, the most sensitive first; empty where nothing had to be kept"
    )
    steps: list[PlanStep] = Field(description="the forms that were measured, in order")

    def told(self) -> list[str]:
        """The choice in sentences: one of the whole, one for each that is kept."""
        basis = f"{self.normal} calibration inputs and {self.altered} altered copies, no labels"
        asked = f"at most {self.max_score_drift:g}"
        if not self.kept:
            return [
                f"With every layer in INT8 the scores drift by {self.before.drift:.2g} of their standard deviation "
                f"({asked} allowed; {basis}): no layer has to stay in higher precision."
            ]
        whole = (
            f"Layers that hold {100 * self.kept_share:.2g} % of the multiply-accumulates stay in higher precision: the "
            f"scores drift by {self.after.drift:.2g} of their standard deviation instead of {self.before.drift:.2g} "
            f"({asked} allowed), rank agreement {self.after.rank_agreement:.3f} instead of "
            f"{self.before.rank_agreement:.3f} ({basis})."
        )
        each = [
            f"Kept: {layer.name}, {100 * layer.share:.2g} % of the multiply-accumulates; in INT8 it alone makes the "
            f"scores drift by {layer.alone.drift:.2g}."
            for layer in self.layers
            if layer.kept
        ]
        return [whole, *each]
