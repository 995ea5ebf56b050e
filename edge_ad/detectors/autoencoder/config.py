"""Presets and settings of the autoencoder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from edge_ad.detectors.sound import SoundConfig

Width = Annotated[int, Field(gt=0, le=4096)]


class AutoencoderConfig(SoundConfig):
    """Everything that a fit depends on besides its data; stands in the model folder.

    features: vectors as they come, or log-mel features of samples, as `SoundConfig` says. window: rows of the series
    that make one vector, the newest ones; their channels are its values. widths: of the hidden layers on the way to the
    latent one, and in reverse on the way back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    features: Literal["vector", "log-mel"] = "vector"
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
    "micro": AutoencoderConfig(
        preset="micro", widths=(48, 24), latent=6, steps=3000, frame=512, hop=256, bands=40
    ),
}
