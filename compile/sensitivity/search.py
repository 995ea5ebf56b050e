"""The search: each layer's sensitivity, then the cheapest set to keep that holds a tolerance.

Sensitivity is measured with *one layer alone* quantized, as in Wu et al., "Integer Quantization for Deep Learning
Inference" (arXiv 2004.09602), section 5: with everything but one layer quantized, the noise of all the others hides
what a layer of middling sensitivity does. Noise of separate layers adds in squares, so a layer's gain is the square of
its drift, and layers are kept in the order of gain by price. How many of them is found by bisection on the form that
would be shipped, all others quantized; then each one, the dearest first, is let go where the tolerance holds without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_ad.compile.sensitivity.agreement import Agreement, Tolerance

Measure = Callable[
    [frozenset[str]], Agreement
]  # the names of those kept in higher precision -> what that form does


@dataclass(frozen=True)
class Unit:
    """What is kept or quantized together: one layer, or a module of several. macs: its price."""

    name: str
    layers: tuple[str, ...]
    macs: int


@dataclass(frozen=True)
class Step:
    """A form that was measured on the way. kept: names of units; macs: of these."""

    kept: tuple[str, ...]
    macs: int
    agreement: Agreement
    holds: bool


@dataclass(frozen=True)
class Found:
    """What the search found. kept: names of units in the network's order, None where not even all of them hold the
    tolerance. alone: what quantizing each unit alone does, none where nothing had to be kept. steps: forms in the order
    in which they were measured, the first one with nothing kept."""

    kept: tuple[str, ...] | None
    alone: dict[str, Agreement]
    steps: list[Step]

    def step(self, kept: Sequence[str]) -> Step:
        """The measurement of a set of units that was measured."""
        return next(step for step in self.steps if set(step.kept) == set(kept))


def cheapest(units: Sequence[Unit], measure: Measure, tolerance: Tolerance) -> Found:
    """The cheapest set of units to keep, by greedy choice: it holds the tolerance, and none of it can be let go."""
    forms = _Forms(units, measure, tolerance)
    if forms.holds(()):
        return Found((), {}, forms.steps)
    names = [unit.name for unit in units]
    if not forms.holds(names):
        return Found(None, {}, forms.steps)
    alone = {name: measure(frozenset(names) - {name}) for name in names}
    gain = {unit.name: alone[unit.name].drift ** 2 / max(1, unit.macs) for unit in units}
    order = sorted(names, key=lambda name: -gain[name])
    low, high = 0, len(order)  # keeping `low` of them does not hold, keeping `high` does
    while high - low > 1:
        middle = (low + high) // 2
        if forms.holds(order[:middle]):
            high = middle
        else:
            low = middle
    kept = order[:high]
    for unit in sorted(units, key=lambda unit: -unit.macs):
        without = [name for name in kept if name != unit.name]
        if unit.name in kept and forms.holds(without):
            kept = without
    return Found(tuple(name for name in names if name in kept), alone, forms.steps)


class _Forms:
    """Sets of units to keep, each measured once."""

    def __init__(self, units: Sequence[Unit], measure: Measure, tolerance: Tolerance):
        self._units, self._measure, self._tolerance = units, measure, tolerance
        self.steps: list[Step] = []

    def holds(self, kept: Sequence[str]) -> bool:
        """Whether the form that keeps these holds the tolerance."""
        wanted = frozenset(kept)
        known = next((step for step in self.steps if frozenset(step.kept) == wanted), None)
        if known is None:
            found = self._measure(wanted)
            chosen = [unit for unit in self._units if unit.name in wanted]
            known = Step(
                tuple(unit.name for unit in chosen), sum(unit.macs for unit in chosen), found,
                self._tolerance.holds(found),
            )  # fmt: skip
            self.steps.append(known)
        return known.holds


def units_of(layers: Sequence[tuple[str, int]], most: int) -> list[Unit]:
    """Layers (name, multiply-accumulates) as units: each by itself, or the layers of one module together where there
    would be more than `most` of them; of the deepest modules first."""
    depth = max((name.count(".") + 1 for name, _ in layers), default=1)
    while True:
        groups: dict[str, list[tuple[str, int]]] = {}
        for name, macs in layers:
            groups.setdefault(".".join(name.split(".")[:depth]), []).append((name, macs))
        if len(groups) <= most or depth == 1:
            return [
                Unit(name, tuple(n for n, _ in members), sum(macs for _, macs in members))
                for name, members in groups.items()
            ]
        depth -= 1
