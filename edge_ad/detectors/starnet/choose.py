"""What STARNet's head is set to, from clean inputs alone: the gains of its search, its ranges, its score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import HeadSpec
from edge_ad.detectors.base import Outputs
from edge_ad.detectors.starnet.config import SCORES, StarNetConfig
from edge_ad.runtime.engines.base import Engine
from edge_ad.runtime.heads.likelihood_regret import NAME, gains, likelihood_regret, usual_gradient

MOVES = tuple(2.0**-k for k in range(1, 8))  # how far a first step goes where the gradient is a usual one
PROBES = (2.0**-5, 2.0**-4, 2.0**-3)
CHEAPEST_FIRST = ("mahalanobis", "kl", "neg_elbo", "regret")
FEWEST_TO_CHOOSE = 8  # clean inputs: the spread of a figure on three says nothing
_TUNED_ON = 8  # clean inputs that the gains are chosen on
_DISTURBED = 24  # clean inputs that are disturbed to compare the figures
_LEAST_SPREAD = 0.02  # of a figure, as a share of its centre

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gains:
    """step, probe: a_0 and c_0 of the search. move: how far a first step goes where the gradient is a usual one.
    regret: its mean on clean inputs, nats."""

    step: float
    probe: float
    move: float
    regret: float


@dataclass(frozen=True)
class Choice:
    """The head, and in a sentence how its search was set."""

    head: HeadSpec
    sentence: str


def choose_gains(
    config: StarNetConfig, variance: float, outputs: Sequence[Outputs], decoder: Engine
) -> Gains:
    """Of a small grid those with the largest mean regret on clean inputs, which needs no label (spec of the search: too
    large a gain inverts the ranking)."""
    parts, base = {"decoder": decoder}, _params(config, variance, "regret", _gains(1.0, 1.0, 1))
    tuned = outputs[:: max(1, len(outputs) // _TUNED_ON)]
    usual = float(np.median([usual_gradient(base, o, parts, PROBES[0]) for o in tuned]))
    regrets = {
        (move, probe): _mean_regret({**base, **_gains(move / usual, probe, config.spsa_steps)}, tuned, parts)
        for move, probe in product(MOVES, PROBES)
    }
    move, probe = max(regrets, key=lambda pair: regrets[pair])
    return Gains(move / usual, probe, move, regrets[move, probe])


def choose_head(
    config: StarNetConfig, variance: float, score: str, outputs: Sequence[Outputs], decoder: Engine,
    chosen: Gains | None = None,
) -> Choice:  # fmt: skip
    """The head for one compiled form that alarms on `score`, from its outputs for clean inputs.

    chosen: the gains of the fit, so that all forms search alike; without them (models of earlier versions) those that
    suit this form. Ranges: centre and spread on either side of each figure on clean inputs.
    """
    found = chosen or choose_gains(config, variance, outputs, decoder)
    params = _params(config, variance, score, _gains(found.step, found.probe, config.spsa_steps))
    figures = _figures(params, outputs, {"decoder": decoder})
    params["ranges"] = {name: limits(values) for name, values in figures.items()}
    return Choice(
        HeadSpec(name=NAME, params={**params, "search": score == "regret"}),
        f"Of the search for likelihood regret, a first step of {found.move:g} and a probe of {found.probe:g} were "
        f"chosen by the largest mean regret on clean inputs ({found.regret:.3g} nats).",
    )


def _params(config: StarNetConfig, variance: float, score: str, gains: dict[str, Any]) -> dict[str, Any]:
    return {
        "output": "mean", "logvar": "logvar", "features": "features", "mahalanobis": "mahalanobis",
        "decoder": "decoder", "variance": variance, "seed": config.seed, "score": score,
        "ranges": {name: [-1.0, 0.0, 1.0] for name in SCORES}, "search": True, "stop_at": None, **gains,
    }  # fmt: skip


def choose_score(sensitivity: Mapping[str, float], n: int) -> str:
    """The cheapest figure that is at least half as sensitive as the most sensitive one: regret costs many passes of the
    decoder, -ELBO and KL one of the networks, and has to earn them. n: clean inputs that spreads and sensitivities rest
    on; of too few nothing can be earned."""
    if n < FEWEST_TO_CHOOSE:
        return CHEAPEST_FIRST[0]
    enough = 0.5 * max(sensitivity.values())
    return next(name for name in CHEAPEST_FIRST if sensitivity[name] >= enough)


def limits(values: Float64) -> list[float]:
    """Centre of clean values less and plus their spread on either side: root mean square, at least half of both sides'
    and `_LEAST_SPREAD` of the centre."""
    centre = float(np.median(values))
    off = values - centre
    both = float(np.sqrt(np.mean(off * off)))
    least = max(0.5 * both, _LEAST_SPREAD * abs(centre), 1e-9)
    below, above = off[off <= 0], off[off >= 0]
    low, high = (max(float(np.sqrt(np.mean(side * side))), least) for side in (below, above))
    return [centre - low, centre, centre + high]


def _gains(step: float, probe: float, n: int) -> dict[str, Any]:
    a, c = gains(step, probe, n)
    return {"step": a, "probe": c}


def _mean_regret(params: dict[str, Any], outputs: Sequence[Outputs], parts: Mapping[str, Engine]) -> float:
    return float(np.mean([likelihood_regret(params, o, parts).also["regret"] for o in outputs]))


def _figures(
    params: dict[str, Any], outputs: Sequence[Outputs], parts: Mapping[str, Engine]
) -> dict[str, Float64]:
    results = [likelihood_regret(params, o, parts).also for o in outputs]
    return {name: np.concatenate([r[name] for r in results]).astype(np.float64) for name in SCORES}


def sensitivities(
    head: HeadSpec,
    outputs: Sequence[Outputs],
    decoder: Engine,
    disturb: Callable[[Outputs], Iterator[Outputs]],
) -> dict[str, float]:
    """How far each figure moves when clean features are disturbed a little, in units of its own spread on clean inputs:
    for each kind of disturbance the median over inputs, then the median over kinds.

    disturb: what the main network gives for disturbed copies of the features that it gave for a clean input. These are
    generic (noise, another gain, missing values); no corruption of a sensor is simulated, no label is read.
    """
    params, parts = {**head.params, "search": True}, {"decoder": decoder}
    moves: dict[str, list[list[float]]] = {name: [] for name in SCORES}
    for given in outputs[:: max(1, len(outputs) // _DISTURBED)]:
        before = likelihood_regret(params, given, parts).also
        after = [likelihood_regret(params, made, parts).also for made in disturb(given)]
        for name in SCORES:
            low, _, high = params["ranges"][name]
            moves[name].append(
                [abs(float(a[name][0] - before[name][0])) / (0.5 * (high - low)) for a in after]
            )
    return {name: float(np.median(np.median(found, axis=0))) for name, found in moves.items()}
