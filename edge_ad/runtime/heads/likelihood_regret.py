"""Likelihood regret by zeroth-order search, and the figures that come with it (STARNet, arXiv 2309.11006).

By how much does the evidence bound of one input rise when its posterior is searched for anew? The search (SPSA; Spall,
IEEE Trans. Autom. Control 37, 1992) needs forward passes of the decoder only. It is deterministic: the noise of the
bound is a fixed pair of antithetic draws, shared by all evaluations, and the signs of its steps come from a generator
that is written out here, so that every machine searches alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edge_ad.bundle.names import shown
from edge_ad.errors import SchemaError
from edge_ad.runtime.engines.base import Engine, Tensor
from edge_ad.runtime.heads.params import Params, checked, unfit
from edge_ad.runtime.heads.result import HeadResult

NAME = "likelihood-regret"
_DIRECTIONS = 16
PAIRS = 4  # rows of one call of the decoder: two points of the search, each with both draws
FIGURES = ("regret", "neg_elbo", "kl", "mahalanobis")
# What the search keeps to, so that no step leaves what the decoder has learned, or the range of Q4.11.
MEAN_LIMIT = 15.0
LOGVAR_LIMITS = (-8.0, 4.0)

Float64 = npt.NDArray[np.float64]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class RegretParams(Params):
    """output: the posterior's mean; logvar, features, mahalanobis: further outputs of the main network; decoder: the
    part that reconstructs features. variance: of the Gaussian decoder. step, probe: a_k and c_k of SPSA. seed: of its
    signs. ranges: of each figure on clean inputs (centre less its lower spread, centre, centre plus its upper spread).
    score: the figure to alarm on. search: whether regret is computed at all. stop_at: a regret beyond which the search
    ends early, since nothing can undo the alarm."""

    logvar: str
    features: str
    mahalanobis: str
    decoder: str
    variance: _Positive
    step: Annotated[list[_Positive], Field(min_length=1, max_length=1000)]
    probe: Annotated[list[_Positive], Field(min_length=1, max_length=1000)]
    seed: Annotated[int, Field(gt=0, lt=1 << 32)]
    ranges: dict[str, Annotated[list[_Number], Field(min_length=3, max_length=3)]]
    score: Literal["regret", "neg_elbo", "kl", "mahalanobis"]
    search: bool = True
    stop_at: _Number | None = None


def likelihood_regret(
    params: dict[str, Any], outputs: Mapping[str, Tensor], parts: Mapping[str, Engine]
) -> HeadResult:
    """The two-sided score of one of the figures regret, -ELBO, KL and Mahalanobis distance, all of which are in `also`.

    A figure's score is its distance from the centre of clean inputs in units of their spread on that side, so that one
    threshold guards both: corruptions that make inputs easier to explain lower -ELBO and KL. maps: the squared error of
    the reconstruction, mean over channels. Raises SchemaError for parameters that do not fit the network.
    """
    found, mean = checked(NAME, RegretParams, params, outputs)
    for name in (found.logvar, found.features, found.mahalanobis):
        if name not in outputs:
            raise unfit(NAME, f"no output '{shown(name)}'")
    if found.decoder not in parts:
        raise unfit(NAME, f"no part '{shown(found.decoder)}'")
    if len(found.step) != len(found.probe) or found.score not in found.ranges:
        raise unfit(NAME, "'step', 'probe' or 'ranges' are incomplete")
    results = [
        _figures(found, mean[i], outputs[found.logvar][i], outputs[found.features][i], parts[found.decoder])
        for i in range(len(mean))
    ]
    also = {name: np.array([r[0][name] for r in results], np.float32) for name in results[0][0]}
    also["mahalanobis"] = outputs[found.mahalanobis].reshape(len(mean)).astype(np.float32)
    scores = two_sided(also[found.score], found.ranges[found.score])
    maps = [r[1] for r in results if r[1] is not None]
    return HeadResult(scores, np.stack(maps) if len(maps) == len(results) else None, also=also)


def two_sided(values: npt.NDArray[np.float32], limits: list[float]) -> npt.NDArray[np.float32]:
    """Distance from the centre of `limits` (low, centre, high) in units of the spread on that side, (N,) float32."""
    low, centre, high = limits
    if not low < centre < high:
        raise SchemaError(f"limits {limits} do not rise", hint="compile the bundle again")
    off = values.astype(np.float64) - centre
    return np.where(off >= 0, off / (high - centre), off / (low - centre)).astype(np.float32)


@lru_cache(maxsize=8)
def signs(seed: int, steps: int, n: int) -> Float64:
    """The table of signs (steps, n), +1 or -1, row by row from the lowest bit of xorshift32 (Marsaglia, J. Stat. Softw.
    8, 2003; shifts 13, 17, 5), whose state starts at `seed`."""
    state = seed
    drawn = np.empty(steps * n)
    for i in range(steps * n):
        state ^= (state << 13) & 0xFFFFFFFF
        state ^= state >> 17
        state ^= (state << 5) & 0xFFFFFFFF
        drawn[i] = 1.0 if state & 1 else -1.0
    return drawn.reshape(steps, n)


@lru_cache(maxsize=8)
def noise(seed: int, n: int) -> Float64:
    """The draw (n,) from a normal distribution that all evaluations share: sums of twelve uniform numbers less six,
    from the upper 16 bits of xorshift32 with the state `seed` ^ 0x9E3779B9."""
    state = (seed ^ 0x9E3779B9) or 1
    drawn = np.zeros(n)
    for i in range(n):
        for _ in range(12):
            state ^= (state << 13) & 0xFFFFFFFF
            state ^= state >> 17
            state ^= (state << 5) & 0xFFFFFFFF
            drawn[i] += (state >> 16) / 65536
        drawn[i] -= 6.0
    return drawn


def gains(step: float, probe: float, steps: int) -> tuple[list[float], list[float]]:
    """The tables a_k = step / (k + 1 + A)^0.602 * (1 + A)^0.602 and c_k = probe / (k + 1)^0.101, A a tenth of the steps
    (Spall, IEEE Trans. Aerosp. Electron. Syst. 34, 1998); a_0 = step."""
    stability = 0.1 * steps
    a = [step * ((1 + stability) / (k + 1 + stability)) ** 0.602 for k in range(steps)]
    return a, [probe / (k + 1) ** 0.101 for k in range(steps)]


def usual_gradient(
    params: dict[str, Any], outputs: Mapping[str, Tensor], parts: Mapping[str, Engine], probe: float
) -> float:
    """The median size of the slope along a few random directions at the posterior that the network gives, at least
    1e-6: what steps are scaled by."""
    found, mean = checked(NAME, RegretParams, params, outputs)
    bound = _Bound(found, outputs[found.features][0], parts[found.decoder])
    start = np.concatenate([mean[0], outputs[found.logvar][0]]).astype(np.float64)
    slopes = []
    for delta in signs(found.seed, _DIRECTIONS, len(start)):
        plus, minus = bound(np.stack([start + probe * delta, start - probe * delta]))
        slopes.append(abs(float(plus - minus)) / (2 * probe))
    return max(float(np.median(slopes)), 1e-6)


class _Bound:
    """-ELBO of posteriors for one input, less the constant of the Gaussian, by the shared pair of draws.

    error: squared errors of the last call's reconstructions (PAIRS, …).
    """

    def __init__(self, params: RegretParams, features: Tensor, decoder: Engine):
        self._params, self._decoder = params, decoder
        self._target = features.astype(np.float64)
        self.error = np.zeros(0)

    def __call__(self, points: Float64) -> Float64:
        """(2,) of two posteriors (2, 2 latent): means, then log variances."""
        means, logvars = np.split(points, 2, axis=1)
        spread = np.exp(0.5 * logvars) * noise(self._params.seed, means.shape[1])
        z = np.concatenate([means + spread, means - spread]).astype(np.float32)
        made = next(iter(self._decoder.infer(z).values())).astype(np.float64)
        self.error = (made - self._target) ** 2
        squares = self.error.reshape(PAIRS, -1).sum(axis=1)
        likelihood: Float64 = (squares[:2] + squares[2:]) / (4 * self._params.variance)
        return likelihood + kl_divergence(means, logvars)


def kl_divergence(means: Float64, logvars: Float64) -> Float64:
    """KL(N(mean, exp(logvar)) || N(0, 1)) over the last axis, nats."""
    found: Float64 = 0.5 * (means * means + np.exp(logvars) - 1 - logvars).sum(axis=-1)
    return found


def _figures(
    params: RegretParams, mean: Tensor, logvar: Tensor, features: Tensor, decoder: Engine
) -> tuple[dict[str, float], npt.NDArray[np.float32] | None]:
    """Figures of one input, and its map of errors (h, w) where its features are an image."""
    start = np.concatenate([mean, logvar]).astype(np.float64)
    bound = _Bound(params, features, decoder)
    value = float(bound(np.stack([start, start]))[0])
    figures = {"neg_elbo": value, "kl": float(kl_divergence(*np.split(start, 2)))}
    image = 0.5 * (bound.error[0] + bound.error[2])
    map_ = image.mean(axis=0).astype(np.float32) if image.ndim == 3 else None
    if params.search:
        figures["regret"] = _search(params, start, value, bound)
    return figures, map_


def _search(params: RegretParams, start: Float64, value: float, bound: _Bound) -> float:
    """The regret that SPSA finds: `value` less the best that it sees."""
    point, best = start.copy(), value
    half = len(start) // 2
    low = np.repeat([-MEAN_LIMIT, LOGVAR_LIMITS[0]], half)
    high = np.repeat([MEAN_LIMIT, LOGVAR_LIMITS[1]], half)
    table = signs(params.seed, len(params.step), len(start))
    for a, c, delta in zip(params.step, params.probe, table, strict=True):
        plus, minus = bound(np.stack([point + c * delta, point - c * delta]))
        best = min(best, float(plus), float(minus))
        if params.stop_at is not None and value - best > params.stop_at:
            break
        point = np.clip(point - a * (plus - minus) / (2 * c) * delta, low, high)
    return value - best
