"""Presets and settings of FADeR."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MaskName = Literal["mosaic", "template", "two-pass", "saliency"]
AttenuationName = Literal["none", "soft", "prototype"]
CompareName = Literal["msgms", "l2", "both"]
Precision = Literal["auto", "fp32", "bf16"]

LEVELS = 3  # skip connections of the U-Net, the shallowest first


class FaderConfig(BaseModel):
    """Everything that a fit depends on besides its images; stands in the model folder.

    size: side of the square input, px. widths: channels of the U-Net's levels, the bottleneck last.
    mask: what is hidden from the U-Net (see `masks`). mosaic_px: side of the blocks whose mean is shown instead.
    cell_px: side of a cell, the unit in which is masked and attenuated. mask_share: share of the cells that
    "two-pass" and "saliency" hide. deviation: standard deviations from which "template" hides a cell.
    attenuation: what the MLP puts in place of what it takes away: zeros ("soft") or the mean feature of good parts
    ("prototype"); "none" leaves the skip connections alone. attenuated_levels: which have an MLP; 0 is the
    shallowest. compare: how image and reconstruction are compared (see `comparison`). standardise: the map by its mean
    and deviation at each pixel over good parts. steps: optimiser steps of the U-Net, of `batch` images each.
    attenuation_share: steps of the MLP, as a share of `steps`; a time budget is shared out alike. hole_share: largest
    share of its cells that a mask loses in the hard cases that the MLP learns from. kept_quantile: cells whose error is
    within this quantile of good parts' count as repaired.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    size: Annotated[int, Field(ge=64, le=512, multiple_of=64)]
    widths: tuple[int, int, int, int]
    mask: MaskName = "mosaic"
    mosaic_px: Literal[2, 4, 8, 16, 32]
    cell_px: Literal[4, 8, 16]
    mask_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    deviation: Annotated[float, Field(gt=0)] = 2.5
    attenuation: AttenuationName = "soft"
    attenuated_levels: Annotated[tuple[Annotated[int, Field(ge=0, lt=LEVELS)], ...], Field(min_length=1)] = (
        0,
    )
    compare: CompareName = "l2"
    standardise: bool = True
    steps: Annotated[int, Field(gt=0)]
    attenuation_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    batch: Annotated[int, Field(gt=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    attenuation_rate: Annotated[float, Field(gt=0)] = 1e-2
    decay_at: Annotated[float, Field(gt=0, lt=1)] = 0.8
    hole_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    kept_quantile: Annotated[float, Field(gt=0, lt=0.99)] = 0.95
    precision: Precision = "auto"
    holdout: Annotated[float, Field(gt=0, lt=0.8)] | None = None
    seed: int = 42

    @model_validator(mode="after")
    def _levels_fit(self) -> FaderConfig:
        deepest = 1 << max(self.attenuated_levels)
        if self.cell_px < deepest:
            raise ValueError(
                f"a cell of {self.cell_px} px is smaller than one position of an attenuated level"
            )
        return self

    @property
    def grid(self) -> int:
        """Cells a side."""
        return self.size // self.cell_px

    @property
    def smoothing_px(self) -> int:
        """Side of the mean filter over the anomaly map: 21 px of 256, as in RIAD, and odd."""
        return 2 * round(21 * self.size / 256 / 2 - 0.5) + 1

    @property
    def attenuation_steps(self) -> int:
        """Optimiser steps of the MLP."""
        return max(1, round(self.steps * self.attenuation_share))


PRESETS: dict[str, FaderConfig] = {
    "small": FaderConfig(
        preset="small",
        size=256,
        widths=(16, 32, 64, 128),
        mosaic_px=16,
        cell_px=8,
        steps=2_000,
        batch=4,
        learning_rate=1e-3,
    ),
    "micro": FaderConfig(
        preset="micro",
        size=64,
        widths=(8, 16, 32, 64),
        mosaic_px=4,
        cell_px=4,
        steps=1_500,
        batch=8,
        learning_rate=2e-3,
    ),
}
