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
_TUNED_ON = 8  # clean inputs that the gains are chosen on
_DISTURBED = 24  # clean inputs that are disturbed to compare the figures
_LEAST_SPREAD = 0.02  # of a figure, as a share of its centre

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """The head, and in sentences why it is so."""

    head: HeadSpec
    sentences: list[str]


def choose_head(
    config: StarNetConfig, variance: float, outputs: Sequence[Outputs], decoder: Engine,
    disturb: Callable[[Outputs], Iterator[Outputs]],
) -> Choice:  # fmt: skip
    """The head for one compiled form, from its outputs for clean inputs.

    disturb: what the main network gives for disturbed copies of the features that it gave for a clean input.

    Gains: of a small grid those with the largest mean regret on clean inputs. Ranges: centre and spread on either side
    of each figure on clean inputs. Score: the figure that moves most, in units of that spread, when clean features are
    disturbed a little (noise, another gain, missing values); no corruption of a sensor is simulated, no label is read.
    """
    parts = {"decoder": decoder}
    base: dict[str, Any] = {
        "output": "mean", "logvar": "logvar", "features": "features", "mahalanobis": "mahalanobis",
        "decoder": "decoder", "variance": variance, "seed": config.seed, "score": "neg_elbo",
        "ranges": {name: [-1.0, 0.0, 1.0] for name in SCORES}, "search": True, "stop_at": None, **_gains(1.0, 1.0, 1),
    }  # fmt: skip
    tuned = outputs[:: max(1, len(outputs) // _TUNED_ON)]
    usual = float(np.median([usual_gradient(base, o, parts, PROBES[0]) for o in tuned]))
    regrets = {
        (move, probe): _mean_regret({**base, **_gains(move / usual, probe, config.spsa_steps)}, tuned, parts)
        for move, probe in product(MOVES, PROBES)
    }
    move, probe = max(regrets, key=lambda pair: regrets[pair])
    base |= _gains(move / usual, probe, config.spsa_steps)
    clean = _figures(base, outputs, parts)
    base["ranges"] = {name: limits(values) for name, values in clean.items()}
    some = outputs[:: max(1, len(outputs) // _DISTURBED)]
    shown = _sensitivity(base, some, parts, disturb)
    score: str = config.score or max(shown, key=lambda name: shown[name])
    params = {**base, "score": score, "search": score == "regret"}
    told = ", ".join(f"{name} {value:.2g}" for name, value in shown.items())
    why = "was asked for" if config.score else "moves most when clean inputs are disturbed a little"
    return Choice(
        HeadSpec(name=NAME, params=params),
        [
            f"The score is '{score}', two-sided: it {why} (in units of its spread on clean inputs: {told}).",
            f"Of the search for likelihood regret, a first step of {move:g} and a probe of {probe:g} were chosen by "
            f"the largest mean regret on clean inputs ({regrets[move, probe]:.3g} nats).",
        ],
    )


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


def _sensitivity(
    params: dict[str, Any], outputs: Sequence[Outputs], parts: Mapping[str, Engine],
    disturb: Callable[[Outputs], Iterator[Outputs]],
) -> dict[str, float]:  # fmt: skip
    """How far each figure moves when clean features are disturbed, in units of its own spread among clean inputs: for
    each kind of disturbance the median over inputs, then the median over kinds."""
    moves: dict[str, list[list[float]]] = {name: [] for name in SCORES}
    for given in outputs:
        before = likelihood_regret(params, given, parts).also
        after = [likelihood_regret(params, made, parts).also for made in disturb(given)]
        for name in SCORES:
            low, _, high = params["ranges"][name]
            moves[name].append(
                [abs(float(a[name][0] - before[name][0])) / (0.5 * (high - low)) for a in after]
            )
    return {name: float(np.median(np.median(found, axis=0))) for name, found in moves.items()}
