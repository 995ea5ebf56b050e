"""Which forms are worth having: the Pareto front of cost against drift, and the pick by a budget and a tolerance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_ad.compile.sweep.form import Asked, Measured

KIB = 1024
_SLACK = 1e-9  # a tolerance is met by what rounding puts just beyond it


@dataclass(frozen=True)
class Axis:
    """A cost. value: of a form, the less the better; None where it is not known. unit: of `value` / `scale`."""

    name: str
    unit: str
    scale: float
    value: Callable[[Measured], float | None]


def _time(found: Measured) -> float | None:
    """Of the reference's, since both were taken side by side: machines differ, and their speed drifts."""
    if found.latency_us is None or not found.reference_us:
        return None
    return found.latency_us / found.reference_us


AXES = (
    Axis("latency", "of the reference's", 1, _time),
    Axis("instructions", "millions", 1e6, lambda m: m.instructions),
    Axis("flash", "KB", KIB, lambda m: m.flash_bytes),
    Axis("RAM", "KB", KIB, lambda m: m.ram_bytes),
)


def axes_of(found: Sequence[Measured]) -> list[Axis]:
    """The costs that are known of every form. On devices whose time was measured, that is what counts; flash and RAM do
    on boards and where nothing else is known."""
    known = [axis for axis in AXES if found and all(axis.value(m) is not None for m in found)]
    timed = [axis for axis in known if axis.name == "latency"]
    return timed or known


def front(found: Sequence[Measured]) -> list[Measured]:
    """The forms that no other one beats: none is at least as good in every cost and in `Measured.loss`, and better in
    one. Forms that break a limit of the target are not among them. Equal forms all stay. In the given order."""
    fitting = [m for m in found if not m.over]
    axes = axes_of(fitting)
    points = [(tuple(axis.value(m) or 0 for axis in axes), m.loss) for m in fitting]

    def beats(a: int, b: int) -> bool:
        (costs_a, loss_a), (costs_b, loss_b) = points[a], points[b]
        no_worse = loss_a <= loss_b and all(x <= y for x, y in zip(costs_a, costs_b, strict=True))
        return no_worse and points[a] != points[b]

    every = range(len(fitting))
    return [fitting[i] for i in every if not any(beats(j, i) for j in every)]


def misses(found: Measured, asked: Asked) -> dict[str, float]:
    """What a form misses, in words, and by how much in parts of what was asked; empty when it meets all.

    An unknown speedup misses by infinity.
    """
    missed: dict[str, float] = {}
    if asked.speedup is not None:
        if found.speedup is None:
            missed["its speedup is not known"] = float("inf")
        elif found.speedup < asked.speedup:
            missed[f"{found.gain}, asked {asked.speedup:g}"] = asked.speedup / found.speedup - 1
    for name, limit, value in (
        ("flash", asked.flash_bytes, found.flash_bytes),
        ("RAM", asked.ram_bytes, found.ram_bytes),
    ):
        if limit is not None and value > limit:
            missed[f"{value / KIB:.1f} KB of {name}, asked {limit / KIB:g}"] = value / limit - 1
    drop = found.altered.drop
    if asked.max_drop is not None and drop > asked.max_drop + _SLACK:
        missed[f"AUROC falls by {drop:.4f} on altered inputs, asked {asked.max_drop:g}"] = (
            drop - asked.max_drop
        ) / max(asked.max_drop, 0.01)
    for clause in found.over:
        missed[clause] = 1.0
    return missed


def pick(found: Sequence[Measured], asked: Asked) -> Measured | None:
    """Of the forms that meet all that is asked the one with the least drift, then the cheapest; with a tolerance and no
    budget the cheapest. None when there is none."""
    meeting = [m for m in found if not misses(m, asked)]
    if not meeting:
        return None
    axes = axes_of(meeting)

    def cost(m: Measured) -> tuple[float, ...]:
        return tuple(axis.value(m) or 0 for axis in axes)

    if asked.max_drop is not None and not asked.has_budget:
        return min(meeting, key=lambda m: (cost(m), m.loss))
    return min(meeting, key=lambda m: (m.loss, cost(m)))


def nearest(found: Sequence[Measured], asked: Asked) -> Measured | None:
    """The form that misses least of what is asked, summed over what it misses; None of none."""
    return min(found, key=lambda m: (sum(misses(m, asked).values()), m.loss), default=None)
