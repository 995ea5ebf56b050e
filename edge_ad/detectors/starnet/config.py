"""Presets and settings of STARNet."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Features = Literal["range-image", "bev", "vector"]
SCORES = ("regret", "neg_elbo", "kl", "mahalanobis")


class StarNetConfig(BaseModel):
    """Everything that a fit depends on besides its data; stands in the model folder.

    features: what the VAE sees: a range image or a bird's-eye histogram of a LiDAR scan, or vectors as they come.
    rows, columns: of the image; a bird's-eye histogram takes `rows` cells each way. widths: channels of the three
    convolutions, or for vectors of the hidden layers. roll: largest turn of a training scan about the vertical axis, as
    a share of a whole turn. score: which figure a bundle alarms on; None chooses on clean data (`choose`).
    spsa_steps: how often the search improves the posterior.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    features: Features = "range-image"
    rows: Annotated[int, Field(ge=8, le=128, multiple_of=8)]
    columns: Annotated[int, Field(ge=8, le=512, multiple_of=8)]
    max_range_m: Annotated[float, Field(gt=0)] = 80.0
    latent: Annotated[int, Field(gt=0, le=128)]
    widths: tuple[int, int, int]
    steps: Annotated[int, Field(gt=0)]
    batch: Annotated[int, Field(gt=0)] = 16
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    decay_at: float = 0.8
    roll: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    spsa_steps: Annotated[int, Field(gt=0, le=200)] = 25
    score: Literal["regret", "neg_elbo", "kl", "mahalanobis"] | None = None
    holdout: Annotated[float, Field(gt=0, lt=0.8)] | None = None
    seed: int = 42


PRESETS: dict[str, StarNetConfig] = {
    "small": StarNetConfig(preset="small", rows=32, columns=64, latent=32, widths=(16, 32, 64), steps=1500),
    "micro": StarNetConfig(preset="micro", rows=16, columns=32, latent=16, widths=(8, 16, 32), steps=1000),
}
