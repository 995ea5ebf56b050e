"""Presets and settings of EfficientAD."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["auto", "fp32", "bf16"]


class EfficientAdConfig(BaseModel):
    """Everything that a fit depends on besides its images; stands in the model folder.

    size: side of the square input, px. widths, channels: of the PDN. steps: optimiser steps with one image
    each. precision: arithmetic of the fit ("auto" takes bfloat16 where the CPU multiplies it in hardware).
    quantization_aware: fit on the weight grid of INT8 (see `grid`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    size: Annotated[int, Field(ge=64, le=1024, multiple_of=64)]
    widths: tuple[int, int, int]
    channels: Annotated[int, Field(gt=0)]
    autoencoder: bool
    steps: Annotated[int, Field(gt=0)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: float = 1e-5
    decay_at: float = 0.95
    hard_quantile: float = 0.999
    penalty: str = "none"
    teacher: str = "random-dct"
    teacher_sha256: str | None = None
    transform: Literal["emphasise", "whiten", "standardise"] = "emphasise"
    emphasis_power: Annotated[float, Field(ge=0, le=1)] = 0.5
    precision: Precision = "auto"
    quantization_aware: bool = True
    holdout: Annotated[float, Field(gt=0, lt=0.8)] | None = None
    seed: int = 42


PRESETS: dict[str, EfficientAdConfig] = {
    # The paper's network and schedule (arXiv 2303.14535, section 4.1 and appendix A.1).
    "small": EfficientAdConfig(
        preset="small",
        size=256,
        widths=(128, 256, 256),
        channels=384,
        autoencoder=True,
        steps=70_000,
        learning_rate=1e-4,
    ),
    "tiny": EfficientAdConfig(
        preset="tiny",
        size=128,
        widths=(32, 64, 64),
        channels=64,
        autoencoder=True,
        steps=4_000,
        learning_rate=4e-4,
    ),
    "micro": EfficientAdConfig(
        preset="micro",
        size=64,
        widths=(16, 32, 32),
        channels=32,
        autoencoder=False,
        steps=3_000,
        learning_rate=4e-4,
    ),
}
