"""Likelihood regret in integers: C equals NumPy to the bit, NumPy the float head nearly, and both the closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from regret_cases import Case, random_case

from edge_ad.bundle.manifest import HeadSpec
from edge_ad.compile.integer.image import write_image
from edge_ad.compile.integer.layers16 import Range, quantized
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records.regret import RegretSearch, RegretStart
from edge_ad.compile.integer.regret import BOUND, search_of
from edge_ad.detectors.board_layers import Layer
from edge_ad.errors import EngineError, TargetError
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.firmware_bridge.port_spec import PortSpec
from edge_ad.runtime.heads import evaluate
from edge_ad.runtime.heads.likelihood_regret import gains as head_gains
from edge_ad.runtime.heads.likelihood_regret import kl_divergence, noise
from edge_ad.runtime.heads.likelihood_regret import signs as head_signs
from edge_ad.runtime.integer.regret import (
    FOREVER,
    LOGVAR_HIGH,
    LOGVAR_LOW,
    deviations,
    divergence,
    exponential,
    exponentials,
    signs,
)

LATENT, FEATURES, VARIANCE = 4, 12, 0.3
STATE, UNIT = Range(2.0**-11), 2.0**-11


def test_the_kernel_is_the_definition() -> None:
    rng = np.random.default_rng(0)
    stopped = searched = 0
    for number in range(300):
        case = random_case(rng)
        image = case.image()
        model = HostModel(image.content, inputs=image.inputs, outputs=image.outputs)
        expected = case.figures()
        got = [int(values[0, 0]) for values in model.infer(case.inputs)]
        assert got == [expected.neg_elbo, expected.kl, expected.regret], number
        again = [int(values[0, 0]) for values in model.infer(case.inputs)]
        assert again == got, "a search must leave nothing behind"
        stopped += 0 < expected.steps < len(case.search.gains)
        searched += expected.regret > 0
    assert stopped > 20 and searched > 100, "the cases say little"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_regret_is_never_negative_and_an_early_end_is_the_beginning_of_the_whole(seed: int) -> None:
    case = random_case(np.random.default_rng(seed))
    whole = replace(case, search=replace(case.search, stop_at=FOREVER)).figures()
    assert whole.regret >= 0 and whole.steps == len(case.search.gains)
    early = replace(case, search=replace(case.search, stop_at=whole.regret // 2)).figures()
    assert early.regret <= whole.regret and early.neg_elbo == whole.neg_elbo
    if early.steps < whole.steps:
        assert early.regret > whole.regret // 2
    gains, probes = case.search.gains[: early.steps], case.search.probes[: early.steps]
    cut = replace(case.search, gains=gains, probes=probes, stop_at=FOREVER)
    assert replace(case, search=cut).figures().regret == early.regret
    alarmed = replace(case, search=replace(case.search, stop_at=whole.regret)).figures()
    assert alarmed == whole, "what does not exceed the bound never ends early"


def linear_case(seed: int, steps: int, first: float) -> tuple[Case, dict, np.ndarray, np.ndarray]:
    """A search with a decoder x = W z + b, the float head's parameters, W and b as the integers have them."""
    rng = np.random.default_rng(seed)
    layer = Layer("dense", rng.normal(size=(FEATURES, LATENT)), rng.normal(size=FEATURES), relu=False)
    made = quantized(layer, (LATENT,), STATE, Range(UNIT), where="test")
    factors = made.scaling.channels[1] * 2.0 ** (made.scaling.shift - 31) * UNIT
    weights, bias = made.weights * (factors / STATE.unit)[:, None], made.scaling.channels[0] * factors
    step, probe = head_gains(first, 0.05, steps)
    params = {"variance": VARIANCE, "seed": 42, "step": step, "probe": probe}
    mean, logvar, x = rng.normal(size=LATENT), rng.normal(-1, 0.3, LATENT), rng.normal(size=FEATURES)
    found = search_of(latent=LATENT, unit=UNIT, **params)
    case = Case(found, (made,), *(np.rint(v * 2048).astype(np.int64) for v in (mean, logvar, x)))
    return case, params, weights, bias


class LinearDecoder:
    """x = W z + b, as an engine."""

    parts: dict = {}  # noqa: RUF012

    def __init__(self, weights: np.ndarray, bias: np.ndarray):
        self.weights, self.bias = weights, bias

    def infer(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        return {"x": (batch @ self.weights.T + self.bias).astype(np.float32)}


def test_near_the_float_head() -> None:
    for seed in range(4):
        case, params, weights, bias = linear_case(seed, 40, 2e-3)
        head = HeadSpec(name="likelihood-regret", params={
            "output": "mean", "logvar": "logvar", "features": "features", "mahalanobis": "mahalanobis", "decoder": "d",
            "ranges": {"regret": [-1.0, 0.0, 1.0]}, "score": "regret", **params,
        })  # fmt: skip
        given_ = {
            name: (values / 2048).astype(np.float32)[None]
            for name, values in (("mean", case.mean), ("logvar", case.logvar), ("features", case.target))
        }
        also = evaluate(
            head, {**given_, "mahalanobis": np.zeros((1, 1), np.float32)}, {"d": LinearDecoder(weights, bias)}
        ).also
        found = case.figures()
        assert found.neg_elbo * BOUND.scale == pytest.approx(float(also["neg_elbo"][0]), rel=1e-3)
        assert found.kl * BOUND.scale == pytest.approx(float(also["kl"][0]), abs=3e-3)
        assert found.regret * BOUND.scale == pytest.approx(float(also["regret"][0]), rel=0.02, abs=0.05)


def test_with_a_linear_decoder_the_search_comes_near_the_closed_form_and_never_beyond() -> None:
    for seed in range(2):
        case, _, weights, bias = linear_case(seed, 600, 5e-3)
        x = case.target / 2048

        def bound(mean, logvar, x=x, weights=weights, bias=bias) -> float:
            draw = noise(42, LATENT) * np.exp(logvar / 2)
            squares = [((weights @ (mean + s * draw) + bias - x) ** 2).sum() for s in (1, -1)]
            return float(np.mean(squares) / (2 * VARIANCE) + kl_divergence(mean, logvar))

        best = np.linalg.solve(
            weights.T @ weights / VARIANCE + np.eye(LATENT), weights.T @ (x - bias) / VARIANCE
        )
        start = bound(case.mean / 2048, case.logvar / 2048)
        most = start - min(bound(best, logvar) for logvar in _logvars(best, bound))
        found = case.figures()
        assert found.neg_elbo * BOUND.scale == pytest.approx(start, rel=1e-3)
        assert 0.75 * most < found.regret * BOUND.scale < most + 0.05


def _logvars(mean: np.ndarray, bound) -> list[np.ndarray]:
    """Log variances that coordinate descent on a convex function passes on its way to the best."""
    logvar, passed = np.zeros(LATENT), []
    for _ in range(120):
        for i in range(LATENT):
            trials = np.repeat(logvar[None], 41, axis=0)
            trials[:, i] += np.linspace(-0.3, 0.3, 41)
            logvar = min(trials, key=lambda trial: bound(mean, trial))
        passed.append(logvar)
    return passed


def test_exponential_and_divergence_are_near_the_real_ones() -> None:
    x = np.arange(-(10 << 12), 6 << 12, 7)
    exact = np.exp(x / 4096)
    assert (np.abs(exponential(x) / 2**20 - exact) < 6e-4 * exact + 1e-6)[x < (5 << 12)].all()
    assert (exponential(np.array([-(1 << 17), 1 << 17])) == exponentials()[[0, -1]]).tolist()[0]
    rng = np.random.default_rng(1)
    means, logvars = rng.integers(-30000, 30000, (200, 5)), rng.integers(LOGVAR_LOW, LOGVAR_HIGH, (200, 5))
    wanted = kl_divergence(means / 2048, logvars / 2048)
    got = np.array([divergence(m, v) for m, v in zip(means, logvars, strict=True)]) * BOUND.scale
    np.testing.assert_allclose(got, wanted, rtol=5e-4, atol=1e-3)
    draw = np.rint(noise(42, 5) * 2**16).astype(np.int64)
    spread = np.exp(logvars / 4096) * noise(42, 5) * 2048
    np.testing.assert_allclose(deviations(logvars, draw), spread, rtol=6e-4, atol=0.6)


def test_signs_and_draws_are_the_float_heads() -> None:
    drawn, state = signs(42, 24)
    more, _ = signs(state, 24)
    np.testing.assert_array_equal(np.stack([drawn, more]), head_signs(42, 2, 24))
    found = search_of(latent=7, unit=0.01, variance=0.5, seed=42)
    np.testing.assert_array_equal(found.noise / 65536, noise(42, 7))
    assert len(found.gains) == 0 and found.stop_at == FOREVER


def test_parameters_become_integers_with_small_errors() -> None:
    step, probe = head_gains(0.0123, 0.0625, 30)
    found = search_of(latent=3, unit=0.004, variance=0.7, seed=1, step=step, probe=probe, stop_at=12.5)
    np.testing.assert_array_equal(found.probes, np.rint(np.array(probe) * 2048))
    real = np.array(step) / (2 * found.probes / 2048) * 2048 / 1024
    np.testing.assert_allclose(found.gains * 2.0**-found.gain_shift, real, rtol=1e-7)
    assert found.multiplier * 2.0**-found.shift == pytest.approx(1024 * 0.004**2 / (4 * 0.7), rel=2e-4)
    assert found.stop_at == 12800 and found.gains.max() < 1 << 30
    with pytest.raises(TargetError, match="fit the detector again"):
        search_of(latent=3, unit=1e4, variance=1e-6, seed=1)


WRONG_SEARCH = [
    {"latent": 0}, {"latent": 1025}, {"latent": 1 << 20}, {"elements": 0}, {"elements": (1 << 15) + 1},
    {"multiplier": 1 << 14}, {"multiplier": -1}, {"shift": 63}, {"shift": -1}, {"steps": -1}, {"steps": 3},
    {"steps": 1001}, {"gain_shift": 63}, {"stop_at": -1}, {"first": 0, "count": 4}, {"first": -1}, {"first": 3},
    {"count": 0}, {"count": 1 << 30}, {"point": 1 << 20}, {"trial": 1}, {"z": 0x80000000}, {"made": 1 << 20},
    {"target": 3}, {"neg_elbo": 2}, {"kl": 0x80000040}, {"regret": 1 << 28}, {"noise": 0}, {"exponentials": 16},
    {"gains": 0xFFFFFFFF}, {"gains": 0},
]  # fmt: skip
WRONG_START = [
    {"latent": 0}, {"latent": 2000}, {"mean": 1 << 20}, {"logvar": 1}, {"point": 0x80000000}, {"z": 5},
    {"noise": 0}, {"exponentials": 0},
]  # fmt: skip
WRONG_TABLES = [
    {"noise": (1 << 20) + 1}, {"noise": -(1 << 20) - 1}, {"exponentials": -1}, {"exponentials": (1 << 30) + 1},
    {"probes": -1}, {"probes": (1 << 15) + 1}, {"gains": -1}, {"gains": (1 << 30) + 1},
]  # fmt: skip


@pytest.mark.parametrize(
    ("start", "search", "tables"),
    [
        *(({}, wrong, {}) for wrong in WRONG_SEARCH),
        *((wrong, {}, {}) for wrong in WRONG_START),
        *(({}, {}, wrong) for wrong in WRONG_TABLES),
    ],
)
def test_an_image_that_leads_outside_is_refused(start: dict, search: dict, tables: dict) -> None:
    assert HostModel(_image({}, {}, {}))
    with pytest.raises(EngineError, match="damaged"):
        HostModel(_image(start, search, tables))


def _image(start: dict, search: dict, tables: dict) -> bytes:
    """An image whose records and tables differ from a good one's in these fields."""
    latent, n = 3, 4
    builder = Builder("plain")
    mean, logvar, target = (builder.input(PortSpec((1, size), "int16")) for size in (latent, latent, n))
    table = {"noise": 1000, "exponentials": 1000, "probes": 64, "gains": 1 << 20} | tables
    draw = builder.constant(np.full(latent, table["noise"], np.int32))
    powers = builder.constant(np.full(256, table["exponentials"], np.int32))
    steps = builder.constant(np.repeat([table["probes"], table["gains"]], 2).astype(np.int32))
    point, trial, z = builder.buffer(4 * latent), builder.buffer(4 * latent), builder.buffer(2 * latent)
    fields = {"mean": mean, "logvar": logvar, "point": point, "z": z, "noise": draw, "exponentials": powers}
    builder.step(RegretStart(**fields | {"latent": latent} | start), reads=[mean, logvar], writes=[point, z])
    layer = Layer("dense", np.ones((n, latent)), np.zeros(n), relu=False)
    made = quantized(layer, (latent,), STATE, Range(UNIT), where="test").emit(builder, z)
    figures = [builder.buffer(4) for _ in range(3)]
    record = {
        "first": 1, "count": 1, "point": point, "trial": trial, "z": z, "made": made, "target": target,
        "neg_elbo": figures[0], "kl": figures[1], "regret": figures[2], "noise": draw, "exponentials": powers,
        "gains": steps, "latent": latent, "elements": n, "multiplier": 100, "shift": 10, "steps": 2, "gain_shift": 30,
        "seed": 7, "stop_at": 100,
    }  # fmt: skip
    builder.step(RegretSearch(**record | search), reads=[point, z, made, target], writes=[*figures, trial])
    for figure in figures:
        builder.output(BOUND, figure)
    return write_image(builder.program).content
