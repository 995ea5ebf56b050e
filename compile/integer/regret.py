"""Likelihood regret on a board: the float head's parameters in integers, and the steps of the search."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records import Buffer, Constant
from edge_ad.compile.integer.records.regret import RegretSearch, RegretStart
from edge_ad.errors import TargetError
from edge_ad.firmware_bridge.port_spec import PortSpec
from edge_ad.runtime.heads.likelihood_regret import noise
from edge_ad.runtime.integer.regret import (
    BOUND_BITS,
    FOREVER,
    NOISE_BITS,
    STATE_BITS,
    Search,
    exponentials,
)

BOUND = PortSpec((1, 1), "int32", 2.0**-BOUND_BITS)  # nats
_FACTOR_BITS = 14  # of the factor of a sum of squares
_GAIN_BITS = 30


@dataclass(frozen=True)
class Found:
    """Where a search puts its figures, one int32 each."""

    neg_elbo: Buffer
    kl: Buffer
    regret: Buffer


def search_of(
    *, latent: int, unit: float, variance: float, seed: int, step: Sequence[float] = (), probe: Sequence[float] = (),
    stop_at: float | None = None,
) -> Search:  # fmt: skip
    """The search with parameters of `RegretParams`, for features in units of `unit`; without `step` and `probe` the
    bound of the posterior alone. Raises TargetError for a variance that 62 bits cannot weigh the error by."""
    # A pair of draws: -ELBO's error is the sum of both squares over 4 variance.
    mantissa, exponent = math.frexp(2.0**BOUND_BITS * unit * unit / (4 * variance))
    multiplier, shift = math.floor(math.ldexp(mantissa, _FACTOR_BITS)), _FACTOR_BITS - exponent
    if not 0 <= shift <= 62:
        raise TargetError(
            f"no factor of 62 bits is {2 * unit * unit / variance:g}", where="likelihood regret",
            hint="fit the detector again",
        )  # fmt: skip
    probes = np.maximum(np.rint(np.array(probe) * 2**STATE_BITS), 1).astype(np.int64)
    # A step of the state is a (plus - minus) / 2c; the bounds are in units of 2^-10, the state and c in 2^-11.
    gains = np.array(step) * 2.0 ** (2 * STATE_BITS - 1 - BOUND_BITS) / probes
    gain_shift = min(max(_GAIN_BITS - math.frexp(float(gains.max(initial=0.0)))[1], 0), 62)
    return Search(
        noise=np.rint(noise(seed, latent) * 2**NOISE_BITS).astype(np.int64),
        probes=probes,
        gains=np.minimum(np.rint(gains * 2.0**gain_shift), 1 << _GAIN_BITS).astype(np.int64),
        gain_shift=gain_shift,
        seed=seed,
        multiplier=multiplier,
        shift=shift,
        stop_at=FOREVER if stop_at is None else min(max(math.floor(stop_at / BOUND.scale), 0), FOREVER),
    )


def emit(
    builder: Builder, search: Search, mean: Buffer, logvar: Buffer, target: Buffer,
    decode: Callable[[Builder, Buffer], Buffer],
) -> Found:  # fmt: skip
    """Append a search from a posterior on. target: int16 features; decode: appends the steps from a point of the latent
    space to such features, which the search runs again and again."""
    latent = len(search.noise)
    draw = builder.constant(search.noise.astype(np.int32))
    table = builder.constant(exponentials().astype(np.int32))
    point, trial, z = builder.buffer(4 * latent), builder.buffer(4 * latent), builder.buffer(2 * latent)
    start = RegretStart(mean, logvar, point, z, draw, table, latent)
    builder.step(start, reads=[mean, logvar], writes=[point, z])
    first = builder.next_step
    made = decode(builder, z)
    found = Found(builder.buffer(4), builder.buffer(4), builder.buffer(4))
    macs = sum(step.macs for step in builder.program.steps[first:])
    record = RegretSearch(
        first=first, count=builder.next_step - first, point=point, trial=trial, z=z, made=made, target=target,
        neg_elbo=found.neg_elbo, kl=found.kl, regret=found.regret, noise=draw, exponentials=table,
        gains=_gains(builder, search), latent=latent, elements=target.size // 2, multiplier=search.multiplier,
        shift=search.shift, steps=len(search.gains), gain_shift=search.gain_shift, seed=search.seed,
        stop_at=search.stop_at,
    )  # fmt: skip
    # The first of the two passes of the start was counted as it was appended.
    passes = 1 + 4 * len(search.gains)
    builder.step(
        record, reads=[point, z, made, target], macs=passes * macs,
        writes=[found.regret, found.neg_elbo, found.kl, trial],
    )  # fmt: skip
    return found


def emit_divergence(builder: Builder, search: Search, mean: Buffer, logvar: Buffer) -> Buffer:
    """Append the steps to the divergence of a posterior alone, one int32: the search's own at its start, before a
    decoder that is none (what is run again is the start itself) and a reconstruction without error."""
    latent = len(search.noise)
    draw = builder.constant(search.noise.astype(np.int32))
    table = builder.constant(exponentials().astype(np.int32))
    point, trial, z = builder.buffer(4 * latent), builder.buffer(4 * latent), builder.buffer(2 * latent)
    first = builder.next_step
    builder.step(
        RegretStart(mean, logvar, point, z, draw, table, latent), reads=[mean, logvar], writes=[point, z]
    )
    bound, kl, regret = builder.buffer(4), builder.buffer(4), builder.buffer(4)
    record = RegretSearch(
        first=first, count=1, point=point, trial=trial, z=z, made=mean, target=mean, neg_elbo=bound, kl=kl,
        regret=regret, noise=draw, exponentials=table, gains=None, latent=latent, elements=1, multiplier=0, shift=0,
        steps=0, gain_shift=0, seed=search.seed, stop_at=search.stop_at,
    )  # fmt: skip
    builder.step(record, reads=[point, z, mean], writes=[kl, bound, regret, trial])
    return kl


def _gains(builder: Builder, search: Search) -> Constant | None:
    if not len(search.gains):
        return None
    return builder.constant(np.stack([search.probes, search.gains]).astype(np.int32))
