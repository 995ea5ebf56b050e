"""Presets and settings of the autoencoder."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Width = Annotated[int, Field(gt=0, le=4096)]


class AutoencoderConfig(BaseModel):
    """Everything that a fit depends on besides its data; stands in the model folder.

    window: rows of the series that make one vector, the newest ones; their channels are its values. widths: of the
    hidden layers on the way to the latent one, and in reverse on the way back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    window: Annotated[int, Field(gt=0, le=4096)] = 1
    widths: Annotated[tuple[Width, ...], Field(min_length=1)]
    latent: Width
    steps: Annotated[int, Field(gt=0)]
    batch: Annotated[int, Field(gt=1)] = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    decay_at: float = 0.8
    holdout: Annotated[float, Field(gt=0, lt=0.8)] | None = None
    seed: int = 42


PRESETS: dict[str, AutoencoderConfig] = {
    "ad01": AutoencoderConfig(preset="ad01", widths=(128, 128, 128, 128), latent=8, steps=3000),
    "micro": AutoencoderConfig(preset="micro", widths=(48, 24), latent=6, steps=3000),
}
