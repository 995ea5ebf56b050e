"""The Pareto front against its definition, and what is picked by a budget and a tolerance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweep_forms import found

from edge_ad.compile.sweep.form import Asked, Measured
from edge_ad.compile.sweep.pareto import axes_of, front, misses, nearest, pick

SMALL = st.integers(1, 4)


def figures(values: list[tuple[int, int]]) -> list[Measured]:
    return [found(str(i), latency_us=a, drop=b / 100) for i, (a, b) in enumerate(values)]


@given(st.lists(st.tuples(SMALL, SMALL), max_size=9))
def test_the_front_is_what_nothing_beats(values: list[tuple[int, int]]) -> None:
    forms = figures(values)

    def beaten(own: tuple[int, int]) -> bool:
        return any(other != own and other[0] <= own[0] and other[1] <= own[1] for other in values)

    assert [int(m.key) for m in front(forms)] == [i for i, own in enumerate(values) if not beaten(own)]


@given(st.lists(st.tuples(SMALL, SMALL, SMALL, SMALL), min_size=1, max_size=7))
def test_boards_are_compared_in_all_their_costs(values: list[tuple[int, int, int, int]]) -> None:
    forms = [
        found(str(i), latency_us=None, instructions=a, flash=b, ram=c, drop=d / 100)
        for i, (a, b, c, d) in enumerate(values)
    ]

    def beaten(own: tuple[int, ...]) -> bool:
        return any(other != own and all(x <= y for x, y in zip(other, own, strict=True)) for other in values)

    assert [int(m.key) for m in front(forms)] == [i for i, own in enumerate(values) if not beaten(own)]


def test_costs_that_some_forms_lack_are_left_out() -> None:
    forms = [found("a", latency_us=None, instructions=5), found("b", latency_us=None)]
    assert [axis.name for axis in axes_of(forms)] == ["flash", "RAM"]
    assert [axis.name for axis in axes_of([found("a"), found("b")])] == ["latency"]


def test_equal_drops_are_told_apart_by_ranks() -> None:
    assert [m.key for m in front([found("a", rank=0.9), found("b", rank=0.99)])] == ["b"]


def test_gains_do_not_beat_what_loses_nothing() -> None:
    """A form that gains on altered inputs is no better than one that leaves the scores as they were."""
    forms = [found("gain", drop=-0.05, rank=0.8), found("same", drop=0.0, rank=1.0)]
    assert [m.key for m in front(forms)] == ["same"]


def test_what_does_not_fit_is_on_no_front() -> None:
    assert [m.key for m in front([found("a", latency_us=1, over=("too large",)), found("b")])] == ["b"]


FORMS = [
    found("plain", speedup=1.5, drop=0.0, latency_us=1000, flash=300 * 1024, ram=90 * 1024),
    found("half", speedup=2.5, drop=0.004, latency_us=600, flash=200 * 1024, ram=60 * 1024),
    found("tenth", speedup=6.0, drop=0.03, latency_us=250, flash=100 * 1024, ram=20 * 1024),
]


@pytest.mark.parametrize(
    ("asked", "picked"),
    [
        (Asked(speedup=2), "half"),  # the budget's least drift, not the fastest
        (Asked(speedup=2, max_drop=0.01), "half"),
        (Asked(max_drop=0.05), "tenth"),  # a tolerance alone: the fastest within it
        (Asked(max_drop=0.001), "plain"),
        (Asked(flash_bytes=200 * 1024), "half"),
        (Asked(flash_bytes=200 * 1024, ram_bytes=59 * 1024), "tenth"),
        (Asked(speedup=4, max_drop=0.01), None),
        (Asked(ram_bytes=1), None),
    ],
)
def test_the_pick(asked: Asked, picked: str | None) -> None:
    best = pick(FORMS, asked)
    assert (None if best is None else best.key) == picked


def test_a_miss_is_told_in_what_was_asked_and_what_there_is() -> None:
    asked = Asked(speedup=8, flash_bytes=64 * 1024, ram_bytes=16 * 1024, max_drop=0.01)
    assert list(misses(FORMS[2], asked)) == [
        "6.00 times as fast, asked 8",
        "100.0 KB of flash, asked 64",
        "20.0 KB of RAM, asked 16",
        "AUROC falls by 0.0300 on altered inputs, asked 0.01",
    ]
    assert misses(FORMS[1], Asked(max_drop=0.004)) == {}  # met exactly


def test_the_nearest_misses_least_and_an_unknown_speedup_is_no_answer() -> None:
    near = nearest(FORMS, Asked(speedup=3, max_drop=0.01))
    assert near is not None and near.key == "half"
    unknown = found("unknown", latency_us=None, speedup=None)
    near = nearest([unknown, FORMS[0]], Asked(speedup=100))
    assert near is not None and near.key == "plain"
    assert pick([unknown], Asked(speedup=1)) is None
    assert nearest([], Asked(speedup=1)) is None
