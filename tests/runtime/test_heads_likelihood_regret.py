"""The search for likelihood regret against answers that are known, and figures that a device repeats to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.bundle.manifest import HeadSpec
from edge_ad.errors import SchemaError
from edge_ad.runtime.heads import evaluate
from edge_ad.runtime.heads.likelihood_regret import gains, noise, signs, two_sided

LATENT, FEATURES = 4, 12
VARIANCE = 0.3


class LinearDecoder:
    """x = W z + b, whose best posterior is known in closed form."""

    parts: dict = {}  # noqa: RUF012

    def __init__(self, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.weight = rng.normal(size=(FEATURES, LATENT)).astype(np.float32)
        self.bias = rng.normal(size=FEATURES).astype(np.float32)
        self.calls = 0

    def infer(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        assert batch.shape == (4, LATENT) and batch.dtype == np.float32
        self.calls += 1
        return {"x": batch @ self.weight.T + self.bias}


def head(steps: int = 200, first: float = 2e-3, score: str = "regret", **changes) -> HeadSpec:
    a, c = gains(first, 0.05, steps)
    params = {
        "output": "mean", "logvar": "logvar", "features": "features", "mahalanobis": "mahalanobis", "decoder": "d",
        "variance": VARIANCE, "step": a, "probe": c, "seed": 42, "score": score,
        "ranges": {name: [-1.0, 0.0, 1.0] for name in ("regret", "neg_elbo", "kl", "mahalanobis")},
    }  # fmt: skip
    return HeadSpec(name="likelihood-regret", params={**params, **changes})


def outputs(seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "mean": rng.normal(size=(1, LATENT)).astype(np.float32),
        "logvar": rng.normal(-1, 0.3, (1, LATENT)).astype(np.float32),
        "features": rng.normal(size=(1, FEATURES)).astype(np.float32),
        "mahalanobis": np.array([[2.5]], np.float32),
    }


def bound(decoder: LinearDecoder, x: np.ndarray, mean: np.ndarray, logvar: np.ndarray) -> float:
    """-ELBO with the antithetic pair of draws, written out."""
    draw = noise(42, LATENT) * np.exp(logvar / 2)
    squares = [((decoder.weight @ (mean + s * draw) + decoder.bias - x) ** 2).sum() for s in (1, -1)]
    kl = 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar).sum()
    return float(np.mean(squares) / (2 * VARIANCE) + kl)


def best(decoder: LinearDecoder, x: np.ndarray) -> float:
    """The least -ELBO of any Gaussian posterior. The draws are a pair, so their error is linear in exp(logvar):
    mean: ridge regression. logvar: found for the shared pair by coordinate descent on a convex function."""
    w, v = decoder.weight.astype(float), VARIANCE
    mean = np.linalg.solve(w.T @ w / v + np.eye(LATENT), w.T @ (x - decoder.bias) / v)
    logvar = np.zeros(LATENT)
    for _ in range(400):
        for i in range(LATENT):
            grid = logvar[i] + np.linspace(-0.3, 0.3, 61)
            values = []
            for g in grid:
                trial = logvar.copy()
                trial[i] = g
                values.append(bound(decoder, x, mean, trial))
            logvar[i] = grid[int(np.argmin(values))]
    return bound(decoder, x, mean, logvar)


def test_with_a_linear_decoder_the_search_comes_near_the_closed_form_and_never_beyond() -> None:
    for seed in range(3):
        decoder, given_ = LinearDecoder(seed), outputs(seed)
        mean, logvar = (given_[name][0].astype(float) for name in ("mean", "logvar"))
        start = bound(decoder, given_["features"][0], mean, logvar)
        most = start - best(decoder, given_["features"][0].astype(float))
        result = evaluate(head(steps=800, first=5e-3), given_, {"d": decoder})
        regret = float(result.also["regret"][0])
        assert float(result.also["neg_elbo"][0]) == pytest.approx(start, rel=1e-5)
        assert 0.8 * most < regret <= most * (1 + 1e-6) + 1e-4


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.floats(1e-5, 10))
def test_regret_is_never_negative_whatever_the_gain(seed: int, steps: int, step: float) -> None:
    result = evaluate(head(steps, step), outputs(seed), {"d": LinearDecoder(seed)})
    assert result.also["regret"][0] >= 0 and np.isfinite(result.scores).all()


def test_each_step_costs_one_call_and_the_start_another_and_the_search_stops_where_it_may() -> None:
    decoder = LinearDecoder()
    whole = evaluate(head(50), outputs(), {"d": decoder})
    assert decoder.calls == 51
    regret = float(whole.also["regret"][0])
    decoder = LinearDecoder()
    early = evaluate(head(50, stop_at=regret / 2), outputs(), {"d": decoder})
    assert decoder.calls < 51 and regret / 2 < early.also["regret"][0] <= regret
    decoder = LinearDecoder()
    without = evaluate(head(50, score="neg_elbo", search=False), outputs(), {"d": decoder})
    assert decoder.calls == 1 and "regret" not in without.also


def test_a_score_is_the_two_sided_distance_from_clean_values() -> None:
    values = np.array([10, 12, 8, 9], np.float32)
    assert two_sided(values, [8.0, 10.0, 14.0]).tolist() == [0.0, 0.5, 1.0, 0.5]
    with pytest.raises(SchemaError, match="do not rise"):
        two_sided(values, [10.0, 10.0, 11.0])
    result = evaluate(head(score="mahalanobis", search=False), outputs(), {"d": LinearDecoder()})
    assert result.scores.tolist() == [2.5] and result.also["mahalanobis"].tolist() == [2.5]


def test_signs_and_noise_are_the_same_everywhere() -> None:
    """xorshift32 from 42: the first states are 11355432, 2836018348, 476557059, 3648046016, … (Marsaglia 2003)."""
    assert signs(42, 1, 8)[0].tolist() == [-1, -1, 1, -1, -1, -1, -1, -1]
    assert noise(42, 3).tolist() == [-1.16107177734375, -0.9140472412109375, 0.67724609375]
    table = signs(42, 100, 64)
    assert set(np.unique(table)) == {-1.0, 1.0} and abs(table.mean()) < 0.05
    draws = noise(42, 2000)
    assert abs(draws.mean()) < 0.1 and abs(draws.std() - 1) < 0.1 and np.abs(draws).max() <= 6
    np.testing.assert_array_equal(draws * 65536, np.rint(draws * 65536))  # sums of 16-bit numbers: exact


def test_equal_inputs_give_equal_bytes() -> None:
    a, b = (evaluate(head(), outputs(), {"d": LinearDecoder()}) for _ in range(2))
    assert a.scores.tobytes() == b.scores.tobytes()
    assert {k: v.tobytes() for k, v in a.also.items()} == {k: v.tobytes() for k, v in b.also.items()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder": "e"}, "no part 'e'"),
        ({"logvar": "l"}, "no output 'l'"),
        ({"step": [0.1]}, "'step', 'probe' or 'ranges' are incomplete"),
        ({"variance": 0.0}, "'variance'"),
        ({"score": "best"}, "'score'"),
        ({"step": [float("nan")] * 200}, "'step.0'"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        evaluate(head(**changes), outputs(), {"d": LinearDecoder()})
