"""The ladder: what is tried, in which order, and where it stops; figures are made up, nothing is measured."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from sweep_forms import found

from edge_ad import targets
from edge_ad.compile.sweep import ladder
from edge_ad.compile.sweep.form import Asked, Failed, Form, Keep, Outcome
from edge_ad.compile.sweep.ladder import Skipped, climb
from edge_ad.compile.sweep.setting import Setting
from edge_ad.errors import UsageError

MODEL = Path("/models/parts")


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What `climb` tries, by figures that are a function of the form."""

    def run(
        asked: Asked, figures: Callable[[Form], Outcome], target: str = "openvino-cpu", keep: Keep = ()
    ) -> list[str]:
        told: list[str] = []

        def say(rung: Outcome | Skipped) -> None:
            form = rung.form
            kept = "" if not form.keep else " keep"
            passed = " passed over" if isinstance(rung, Skipped) else ""
            told.append(f"{form.precision}{kept} {100 * form.prune:g}{passed}")

        monkeypatch.setattr(ladder, "opened", lambda models, setting: nullcontext((None, None)))
        monkeypatch.setattr(ladder, "concluded", lambda outcomes, setting, asked: outcomes)
        monkeypatch.setattr(ladder, "search", lambda forms, *rest: [figures(form) for form in forms])
        climb(MODEL, targets.get(target), Setting(MODEL, MODEL, MODEL, targets.get), asked, say, keep)
        return told

    return run


def key(form: Form) -> str:
    return form.model_dump_json()


def test_a_form_that_will_do_ends_it(tried) -> None:
    assert tried(Asked(speedup=2), lambda f: found(key(f), form=f, speedup=2.0)) == ["int8 0"]


def test_shares_grow_until_the_budget_is_met(tried) -> None:
    def figures(form: Form) -> Outcome:
        return found(key(form), form=form, speedup=1.5 / (1 - form.prune))

    assert tried(Asked(speedup=2.8), figures) == [
        "int8 0",
        "int8 25 passed over",
        "int8 40 passed over",
        "int8 50",
    ]


def test_more_pruning_than_the_tolerance_bears_is_not_tried(tried) -> None:
    def figures(form: Form) -> Outcome:
        return found(key(form), form=form, speedup=1.5 + form.prune, drop=form.prune / 10)

    assert tried(Asked(speedup=1.9, max_drop=0.03), figures) == ["int8 0", "int8 25", "int8 40"]


def test_layers_are_kept_where_int8_alone_is_too_coarse(tried) -> None:
    def figures(form: Form) -> Outcome:
        return found(key(form), form=form, speedup=2.0, drop=0.0 if form.keep else 0.1)

    assert tried(Asked(speedup=1.5, max_drop=0.01), figures) == ["int8 0", "int8 keep 0"]
    assert tried(Asked(speedup=1.5), figures) == ["int8 0"]
    assert tried(Asked(max_drop=0.01), figures, "posix") == ["int8 0", "int8 keep 0"]
    # nobody asks for more where layers were named
    assert tried(Asked(max_drop=0.01), figures, keep=("encoder",)) == ["int8 keep 0"]


def test_every_precision_of_a_jetson_comes_before_pruning(tried) -> None:
    told = tried(
        Asked(flash_bytes=500),
        lambda f: found(key(f), form=f, flash=1000 - round(900 * f.prune)),
        "jetson-orin",
    )
    assert told[:2] == ["int8 0", "fp16 0"] and told[2] == "int8 80"  # does pruning make room at all?
    assert told[3:] == ["int8 25", "int8 40", "int8 50", "int8 60"]


def test_where_pruning_makes_no_room_only_the_largest_share_is_left(tried) -> None:
    told = tried(
        Asked(ram_bytes=500), lambda f: found(key(f), form=f, ram=1000 - round(100 * f.prune)), "posix"
    )
    assert told == ["int8 0", "int8 80", "int8 90"]


def test_a_share_that_cannot_be_ends_it(tried) -> None:
    def figures(form: Form) -> Outcome:
        if form.prune > 0.45:
            return Failed(key=key(form), form=form, error="cannot be pruned so far", seconds=0)
        return found(key(form), form=form, speedup=1.5)

    assert tried(Asked(speedup=1.6), figures) == ["int8 0", "int8 25", "int8 40", "int8 50"]


def test_nothing_asked_is_an_error(tried) -> None:
    with pytest.raises(UsageError, match="say what a form has to meet"):
        tried(Asked(), lambda f: found(key(f), form=f))
