"""Presets and settings of TSPulse."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Masking = Literal["newest", "block", "hybrid", "variable-hybrid"]
Norm = Literal["batch", "layer"]
Gate = Literal["sigmoid", "softmax"]
Form = Literal["published", "scoring"]
_Count = Annotated[int, Field(gt=0)]
_Share = Annotated[float, Field(ge=0, le=1)]


class TsPulseConfig(BaseModel):
    """Everything that a fit depends on besides its series; stands in the model folder.

    context: rows in a window. patch: rows in a token, and the hop of the online score. width: features of a token
    (d_model). expansion: of the mixers' hidden layers. layers, decoder_layers: of backbone and decoder. registers:
    register tokens. norm, gate: of the mixers (batch norm and sigmoid need no statistics and no sum on a device).
    masking, mask_ratio, patch_share: how training masks windows (see `masking`); newest_share: how many of them are
    masked as scoring does it, newest patch only. scale_floor: smallest variance that a window is divided by (RevIN's
    eps, in units of the training variance). steps: optimiser steps with `batch` windows of one channel each.
    weights: safetensors file in granite-tsfm's key layout to begin from. form: of the network; "scoring" gives the same
    newest patch and spectrum with layers that can be narrower (see `scoring_form`), as pruned models have it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    context: Annotated[int, Field(ge=32, le=4096)]
    patch: Annotated[int, Field(ge=4, le=256)]
    width: Annotated[int, Field(ge=4, le=256)]
    expansion: Annotated[int, Field(ge=1, le=8)]
    layers: _Count
    decoder_layers: _Count
    registers: _Count
    norm: Norm = "batch"
    gate: Gate = "sigmoid"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    masking: Masking = "variable-hybrid"
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.4
    patch_share: _Share = 0.2
    newest_share: _Share = 0.5
    scale_floor: Annotated[float, Field(gt=0)] = 1e-3
    steps: _Count
    batch: _Count = 64
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    decay_at: Annotated[float, Field(gt=0, le=1)] = 0.8
    rate_hz: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    holdout: Annotated[float, Field(gt=0, lt=0.8)] | None = None
    weights: str | None = None
    weights_sha256: str | None = None
    seed: int = 42
    form: Form = "published"

    @model_validator(mode="after")
    def _whole_patches(self) -> TsPulseConfig:
        if self.context % (2 * self.patch):
            raise ValueError(f"context {self.context} is not a multiple of two patches of {self.patch}")
        return self

    @property
    def hop(self) -> int:
        """Rows between two scores: those of the newest patch."""
        return self.patch

    @property
    def patches(self) -> int:
        """Patches in a window; the spectrum has as many."""
        return self.context // self.patch

    @property
    def tokens(self) -> int:
        """Time patches, spectrum patches and registers."""
        return 2 * self.patches + self.registers

    @property
    def read_tokens(self) -> slice:
        """The tokens that the heads of the score read: the newest time patch and the whole spectrum."""
        return slice(self.patches - 1, 2 * self.patches)

    @property
    def trimmed(self) -> bool:
        """Whether the last block gives `read_tokens` alone; a softmax gate needs all tokens for its sum."""
        return self.form == "scoring" and self.gate == "sigmoid"

    @property
    def folded(self) -> bool:
        """Whether mixers over features read the stream itself, a batch norm being part of their first matrix."""
        return self.form == "scoring" and self.norm == "batch"


PRESETS: dict[str, TsPulseConfig] = {
    # The published shape (arXiv 2505.13033; sizes as in granite-tsfm's released checkpoints).
    "full": TsPulseConfig(
        preset="full",
        context=512,
        patch=8,
        width=24,
        expansion=2,
        layers=8,
        decoder_layers=2,
        registers=10,
        norm="layer",
        gate="softmax",
        dropout=0.2,
        steps=10_000,
        learning_rate=1e-3,
    ),
    "tiny": TsPulseConfig(
        preset="tiny",
        context=512,
        patch=16,
        width=16,
        expansion=1,
        layers=4,
        decoder_layers=1,
        registers=4,
        steps=3_000,
        learning_rate=3e-3,
    ),
    "micro": TsPulseConfig(
        preset="micro",
        context=256,
        patch=16,
        width=16,
        expansion=1,
        layers=3,
        decoder_layers=1,
        registers=2,
        steps=3_000,
        learning_rate=3e-3,
    ),
}
