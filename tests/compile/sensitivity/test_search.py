"""The search by itself, on forms whose figures are known: noise that adds in squares."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.compile.sensitivity.agreement import Agreement, ScorePair, Tolerance, agreement
from edge_ad.compile.sensitivity.search import Unit, cheapest, units_of
from edge_ad.errors import QualityError


def _agreement(drift: float, drop: float = 0.0) -> Agreement:
    return Agreement(drift=drift, mean_shift=0.0, rank_agreement=1.0, rank_correlation=1.0, auroc_drop=drop)


class _Network:
    """Layers that each add a noise of their own where they are quantized."""

    def __init__(self, noise: dict[str, float], macs: dict[str, int], rest: float = 0.0):
        self.noise, self.rest, self.measured = noise, rest, 0
        self.units = [Unit(name, (name,), macs[name]) for name in noise]

    def __call__(self, kept: frozenset[str]) -> Agreement:
        self.measured += 1
        squares = sum(value**2 for name, value in self.noise.items() if name not in kept)
        return _agreement(float(np.sqrt(squares + self.rest**2)))

    def holds(self, kept: tuple[str, ...], tolerance: float) -> bool:
        return self(frozenset(kept)).drift <= tolerance

    def price(self, kept: tuple[str, ...]) -> int:
        return sum(unit.macs for unit in self.units if unit.name in kept)


def test_the_one_sensitive_layer_is_kept() -> None:
    noise = {"a": 0.02, "b": 0.5, "c": 0.02, "d": 0.01}
    network = _Network(noise, dict.fromkeys(noise, 100))
    found = cheapest(network.units, network, Tolerance(0.1))
    assert found.kept == ("b",)
    assert {name: one.drift for name, one in found.alone.items()} == pytest.approx(noise)
    assert found.step(("b",)).holds and not found.step(()).holds


def test_of_equally_sensitive_layers_the_cheaper_is_kept() -> None:
    network = _Network(
        {"dear": 0.09, "cheap": 0.09, "third": 0.02}, {"dear": 10_000, "cheap": 10, "third": 10}
    )
    assert cheapest(network.units, network, Tolerance(0.1)).kept == ("cheap",)


def test_nothing_is_kept_nor_measured_alone_where_the_quantized_form_holds() -> None:
    network = _Network({"a": 0.02, "b": 0.03}, {"a": 1, "b": 1})
    found = cheapest(network.units, network, Tolerance(0.1))
    assert found.kept == () and not found.alone and network.measured == 1


def test_what_no_layer_makes_good_is_said() -> None:
    network = _Network({"a": 0.2}, {"a": 1}, rest=0.3)
    found = cheapest(network.units, network, Tolerance(0.1))
    assert found.kept is None
    assert found.steps[-1].agreement.drift == pytest.approx(0.3)


def test_the_drop_of_auroc_is_held_too() -> None:
    drops = {"a": 0.0, "b": 0.05}

    def measure(kept: frozenset[str]) -> Agreement:
        return _agreement(
            0.01 * (2 - len(kept)), sum(drop for name, drop in drops.items() if name not in kept)
        )

    units = [Unit(name, (name,), 10) for name in drops]
    assert cheapest(units, measure, Tolerance(1.0)).kept == ()
    assert cheapest(units, measure, Tolerance(1.0, 0.01)).kept == ("b",)


_layers = st.lists(st.tuples(st.floats(0, 0.3), st.integers(1, 1000)), min_size=1, max_size=7)


@settings(deadline=None, max_examples=60)
@given(_layers, st.floats(0.01, 0.5))
def test_what_is_kept_holds_and_nothing_of_it_can_be_let_go(
    layers: list[tuple[float, int]], most: float
) -> None:
    noise = {f"layer{i}": value for i, (value, _) in enumerate(layers)}
    network = _Network(noise, {f"layer{i}": macs for i, (_, macs) in enumerate(layers)})
    found = cheapest(network.units, network, Tolerance(most))
    assert found.kept is not None
    assert network.holds(found.kept, most)
    for name in found.kept:
        assert not network.holds(tuple(other for other in found.kept if other != name), most)


@settings(deadline=None, max_examples=60)
@given(_layers, st.floats(0.01, 0.5))
def test_greedy_costs_at_most_one_layer_more_than_the_best_set(
    layers: list[tuple[float, int]], most: float
) -> None:
    noise = {f"layer{i}": value for i, (value, _) in enumerate(layers)}
    network = _Network(noise, {f"layer{i}": macs for i, (_, macs) in enumerate(layers)})
    found = cheapest(network.units, network, Tolerance(most))
    assert found.kept is not None
    names = list(noise)
    sets = chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))
    best = min(network.price(kept) for kept in sets if network.holds(kept, most))
    dearest = max((unit.macs for unit in network.units), default=0)
    assert network.price(found.kept) <= best + dearest


def test_layers_go_together_by_module_where_there_are_too_many() -> None:
    layers = [(f"block.{i}.{part}", 1) for i in range(4) for part in ("up", "down")] + [("head", 5)]
    assert [unit.name for unit in units_of(layers, 9)] == [name for name, _ in layers]
    grouped = units_of(layers, 8)
    assert [unit.name for unit in grouped] == ["block.0", "block.1", "block.2", "block.3", "head"]
    assert grouped[0] == Unit("block.0", ("block.0.up", "block.0.down"), 2)


def test_agreement_is_that_of_the_scores() -> None:
    rng = np.random.default_rng(0)
    normal, altered = rng.normal(0, 2, 40), rng.normal(5, 3, 30)
    same = agreement(ScorePair(normal, altered), ScorePair(normal + 1, altered + 1))
    assert same.drift == pytest.approx(0, abs=1e-12)  # a shift of all is for the threshold
    assert same.mean_shift == pytest.approx(1 / normal.std(ddof=1))
    assert same.rank_agreement == pytest.approx(1) and same.auroc_drop == 0
    noisy = agreement(ScorePair(normal, altered), ScorePair(normal, altered + rng.normal(0, 3, 30)))
    assert 0.5 < noisy.drift < 1.5 and noisy.rank_agreement < 0.95
    swapped = agreement(ScorePair(normal, altered), ScorePair(-normal, -altered))
    assert swapped.rank_agreement == pytest.approx(-1) and swapped.auroc_drop > 0.5


def test_scores_that_are_all_alike_have_no_drift() -> None:
    flat = ScorePair(np.ones(4), np.ones(4))
    with pytest.raises(QualityError, match="all alike"):
        agreement(flat, flat)
