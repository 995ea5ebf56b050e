"""Records of likelihood regret: edge_ad/runtime/integer/regret.py.

`RegretStart` puts a posterior into the search's state, the decoder's steps follow, and `RegretSearch` runs them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_ad.compile.integer.records.base import Loop, Record, Ref


@dataclass(frozen=True)
class RegretStart(Record):
    """point: int16 (2, latent), the state: mean and logvar (int16, (latent,) each), log variances kept in their limits.
    z: int16 (latent,), the mean plus the draw. noise: int32 (latent,). exponentials: int32 (256,)."""

    C_NAME: ClassVar[str] = "regret_start"

    mean: Ref
    logvar: Ref
    point: Ref
    z: Ref
    noise: Ref
    exponentials: Ref
    latent: int


@dataclass(frozen=True)
class RegretSearch(Loop):
    """`search`. point, z, noise, exponentials: as of `RegretStart`, from whose z the steps of the loop, the decoder,
    have made `made` once already.

    trial: int16 (2, latent), a state that is tried. made, target: int16 (elements,). neg_elbo, kl, regret: int32 each.
    gains: int32 (2, steps), `probes` and `gains`; None for no steps.
    """

    C_NAME: ClassVar[str] = "regret_search"

    point: Ref
    trial: Ref
    z: Ref
    made: Ref
    target: Ref
    neg_elbo: Ref
    kl: Ref
    regret: Ref
    noise: Ref
    exponentials: Ref
    gains: Ref
    latent: int
    elements: int
    multiplier: int
    shift: int
    steps: int
    gain_shift: int
    seed: int
    stop_at: int
