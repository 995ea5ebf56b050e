"""Likelihood regret in integers: what boards compute, to the bit (`edge_ad.runtime.heads.likelihood_regret` in float).

The search's state, means and log variances, is in Q4.11: int16 in units of 2^-11. Evidence bounds are int32 in units of
2^-10 nats, and exact but for one rounding of the reconstruction's error and one of the divergence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from edge_ad.runtime.integer.functions import Int64, saturate

STATE_BITS, BOUND_BITS, NOISE_BITS, EXP_BITS = 11, 10, 16, 20
MEAN_LIMIT, LOGVAR_LOW, LOGVAR_HIGH = 15 << STATE_BITS, -8 << STATE_BITS, 4 << STATE_BITS
EXP_FROM, EXP_STEP_BITS, EXP_SIZE = -10, 4, 256  # a table of exp in steps of 1/16 from -10
MOST_ERROR = 1 << 30  # of a bound; what divergence adds keeps it in 32 bits
FOREVER = (1 << 31) - 1  # a `stop_at` that no regret exceeds
_MOST_MOVE = (1 << 16) - 1  # more leads out of the state's range from anywhere

Decode = Callable[[Int64], Int64]


@dataclass(frozen=True)
class Search:
    """noise (latent,): the draw, units of 2^-16. probes, gains (K,): c_k in units of the state, and what turns a
    difference of bounds into a step of the state: step = difference * gain / 2^gain_shift. seed: of the signs.
    multiplier, shift: bound = sum of squares * multiplier / 2^shift. stop_at: in units of a bound.
    """

    noise: Int64
    probes: Int64
    gains: Int64
    gain_shift: int
    seed: int
    multiplier: int
    shift: int
    stop_at: int = FOREVER


@dataclass(frozen=True)
class Figures:
    """In units of a bound. steps: of the search, fewer than there are gains where it ended early."""

    neg_elbo: int
    kl: int
    regret: int
    steps: int


def search(found: Search, mean: Int64, logvar: Int64, target: Int64, decode: Decode) -> Figures:
    """The regret that SPSA finds from a posterior (latent,), (latent,) on, and the bound and divergence at its start.

    target: features (n,) int16. decode: a point of the latent space (latent,) int16 to their reconstruction (n,) int16.
    As in the float head: the error is that of the mean plus and minus the draw times the standard deviation; the best
    bound seen counts; each step tries the state plus and minus a probe in the direction of the next signs, and moves
    against the difference. Log variances start in -8 to 4; after each step the state is kept in its limits.
    """
    half = len(mean)
    limits = np.repeat([[-MEAN_LIMIT, LOGVAR_LOW], [MEAN_LIMIT, LOGVAR_HIGH]], half, axis=1)
    point = np.concatenate([mean, np.clip(logvar, LOGVAR_LOW, LOGVAR_HIGH)]).astype(np.int64)

    def bound(state: Int64) -> int:
        means, logvars = state[:half], state[half:]
        draw = deviations(logvars, found.noise)
        errors = [decode(saturate(means + sign * draw)) - target for sign in (1, -1)]
        squares = sum(int((e.astype(np.int64) ** 2).sum()) for e in errors)
        error = min(_round_shift(squares * found.multiplier, found.shift), MOST_ERROR)
        return error + divergence(means, logvars)

    value = bound(point)
    best, steps, state = value, 0, found.seed
    for probe, gain in zip(found.probes, found.gains, strict=True):
        steps += 1
        delta, state = signs(state, 2 * half)
        plus, minus = bound(saturate(point + probe * delta)), bound(saturate(point - probe * delta))
        best = min(best, plus, minus)
        if value - best > found.stop_at:
            break
        move = _round_shift((plus - minus) * int(gain), found.gain_shift)
        move = max(-_MOST_MOVE, min(move, _MOST_MOVE))
        point = np.clip(point - move * delta, *limits)
    kl = divergence(*np.split(np.concatenate([mean, np.clip(logvar, LOGVAR_LOW, LOGVAR_HIGH)]), 2))
    return Figures(value, kl, min(value - best, FOREVER), steps)


def divergence(means: Int64, logvars: Int64) -> int:
    """KL(N(mean, exp(logvar)) || N(0, 1)) of a state, in units of a bound: half the sum of mean^2 + exp(logvar) - 1 -
    logvar, which is exact but for the exponential, rounded half up."""
    means, logvars = np.asarray(means, np.int64), np.asarray(logvars, np.int64)
    parts = means * means + (exponential(2 * logvars) << 2) - (1 << 22) - (logvars << STATE_BITS)
    return _round_shift(int(parts.sum()), 2 * STATE_BITS + 1 - BOUND_BITS)


def deviations(logvars: Int64, noise: Int64) -> Int64:
    """exp(logvar / 2) * noise in units of the state, rounded half up."""
    products = exponential(np.asarray(logvars, np.int64)) * noise
    down = EXP_BITS + NOISE_BITS - STATE_BITS
    return np.asarray((products + (1 << (down - 1))) >> down, np.int64)


def exponential(x: Int64) -> Int64:
    """exp(x / 2^12) in units of 2^-20, linear between the values of `exponentials`, rounded half up; x is kept within
    them."""
    step = STATE_BITS + 1 - EXP_STEP_BITS
    place = np.asarray(x, np.int64) - (EXP_FROM << (STATE_BITS + 1))
    place = np.clip(place, 0, ((EXP_SIZE - 1) << step) - 1)
    at, rest = place >> step, place & ((1 << step) - 1)
    table = exponentials()
    low = table[at]
    return np.asarray(low + (((table[at + 1] - low) * rest + (1 << (step - 1))) >> step), np.int64)


@lru_cache(maxsize=1)
def exponentials() -> Int64:
    """(256,) exp(-10 + i / 16) in units of 2^-20."""
    return np.array(
        [round(math.exp(EXP_FROM + i / (1 << EXP_STEP_BITS)) * 2**EXP_BITS) for i in range(EXP_SIZE)]
    )


def signs(state: int, n: int) -> tuple[Int64, int]:
    """(n,) of +1 and -1 by the lowest bit of xorshift32 (Marsaglia 2003; shifts 13, 17, 5), and its next state."""
    drawn = np.empty(n, np.int64)
    for i in range(n):
        state ^= (state << 13) & 0xFFFFFFFF
        state ^= state >> 17
        state ^= (state << 5) & 0xFFFFFFFF
        drawn[i] = 1 if state & 1 else -1
    return drawn, state


def _round_shift(x: int, shift: int) -> int:
    """x / 2^shift rounded half up, of integers of any size."""
    return (x + (1 << shift >> 1)) >> shift
