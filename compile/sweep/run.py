"""A whole sweep, and the short ladder that a compile climbs to meet a budget; both by the same search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_ad.compile.pipeline import tool_versions
from edge_ad.compile.sweep.candidate import candidate
from edge_ad.compile.sweep.executors import Workers, here
from edge_ad.compile.sweep.form import Asked, Form, Keep, Measured, Outcome
from edge_ad.compile.sweep.journal import Journal, journal
from edge_ad.compile.sweep.pareto import misses, pick
from edge_ad.compile.sweep.report import Sweep, conclude, write
from edge_ad.compile.sweep.search import Keys, baseline, keys_of, measured, plan, search
from edge_ad.compile.sweep.setting import Setting
from edge_ad.compile.target import ImageTarget, Precision, Target
from edge_ad.detectors import load_detector
from edge_ad.errors import UsageError
from edge_ad.runtime.isa import cpu_isa

Told = Callable[[Outcome], None]
Planned = Callable[[int], None]

LADDER = (0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # shares to prune, after what needs no pruning
_HOPE = 1.1  # pruning makes a network at most this much faster than in proportion to its multiply-accumulates


@dataclass(frozen=True)
class Searched:
    """A sweep's result. model: folder of the picked form's model, None without a pick. html, json: the report."""

    sweep: Sweep
    html: Path
    json: Path
    model: Path | None


@dataclass(frozen=True)
class Skipped:
    """A rung that was not tried, and why."""

    form: Form
    why: str


Rung = Outcome | Skipped


def sweep(
    models: Sequence[Path], targets: Sequence[Target], setting: Setting, asked: Asked, workers: Workers, *,
    shares: Sequence[float] = (0.0,), precisions: Sequence[Precision] = (), keep: Keep = (),
    planned: Planned = lambda n: None, told: Told = lambda outcome: None,
) -> Searched:  # fmt: skip
    """Measure every form that the arguments span, resuming from the journal in `setting.work`, and write the report.

    planned: is told how many forms there are; told: each one's outcome. The pick meets what is asked; it is None where
    no form does, or nothing is asked. Raises UsageError for forms that cannot be, SweepError as `journal` and `search`.
    """
    forms = plan(models, targets, shares, precisions, keep)
    planned(len(forms))
    with _opened(models, setting) as (keys, kept):
        outcomes = search(forms, setting, keys, kept, workers, told)
    return _concluded(outcomes, setting, asked)


def climb(
    model: Path, target: Target, setting: Setting, asked: Asked, told: Callable[[Rung], None], keep: Keep = ()
) -> Searched:
    """Try forms of `model` from the cheapest to make to the dearest, until one meets what is asked: first the target's
    precisions, then with the layers in float that a tolerance needs, then pruned by growing shares.

    Shares are passed over that cannot make it fast enough; once a pruned form breaks the tolerance, larger shares are
    not tried. told: each outcome and each rung that is passed over. keep: layers that all int8 forms keep in a higher
    precision. Raises UsageError when nothing is asked.
    """
    if not asked:
        raise UsageError("say what a form has to meet", hint="--speedup 4, --max-auroc-drop 0.01")
    outcomes: list[Outcome] = []
    tried: list[Form] = []
    with _opened([model], setting) as (keys, kept):
        for form in rungs(model, target, keep):
            if form.keep and not keep and not _too_coarse(outcomes, asked):
                continue
            if why := _hopeless(form, outcomes, asked):
                told(Skipped(form, why))
                continue
            tried.append(form)
            outcomes = search(tried, setting, keys, kept, here(), lambda outcome: None)
            told(outcomes[-1])
            if _done(outcomes[-1], asked):
                break
    return _concluded(outcomes, setting, asked)


def rungs(model: Path, target: Target, keep: Keep = ()) -> list[Form]:
    """The ladder's forms: unpruned in each precision, the target's default first; where it keeps layers and none are
    named, with those that a search finds; then pruned in the default precision."""
    first = baseline(model, target)
    if first.precision == "int8":
        first = first.model_copy(update={"keep": keep})
    other = [
        first.model_copy(update={"precision": p, "keep": ()}) for p in target.precisions[1:] if p != "fp32"
    ]
    found = [first.model_copy(update={"keep": "auto"})]
    if keep or first.precision != "int8" or isinstance(target, ImageTarget):
        found = []
    return [first, *other, *found, *(first.model_copy(update={"prune": share}) for share in LADDER)]


def _too_coarse(outcomes: Sequence[Outcome], asked: Asked) -> bool:
    """Whether all that was tried breaks the tolerance, so that layers in a higher precision may be worth their cost."""
    tried = list(measured(outcomes))
    return asked.max_drop is not None and bool(tried) and all(m.altered.drop > asked.max_drop for m in tried)


def _hopeless(form: Form, outcomes: Sequence[Outcome], asked: Asked) -> str | None:
    """Why a pruned form need not be tried, None for one that may do."""
    plain = next(
        (m for m in measured(outcomes) if m.form.precision == form.precision and not m.form.prune), None
    )
    if not form.prune or asked.speedup is None or plain is None or plain.speedup is None:
        return None
    bound = _HOPE * plain.speedup / (1 - form.prune)
    if bound >= asked.speedup:
        return None
    return f"at {plain.speedup:.2f} times as fast unpruned it reaches {bound:.2f} times at best"


def _done(outcome: Outcome, asked: Asked) -> bool:
    """Whether to stop here: all is met, or a pruned form lost too much, and more pruning would lose more."""
    if not isinstance(outcome, Measured):
        return bool(outcome.form.prune)
    too_much = asked.max_drop is not None and outcome.altered.drop > asked.max_drop
    return not misses(outcome, asked) or (bool(outcome.form.prune) and too_much)


@contextmanager
def _opened(models: Sequence[Path], setting: Setting) -> Iterator[tuple[Keys, Journal]]:
    keys = keys_of(setting, models)
    with journal(setting.work) as kept:
        yield keys, kept


def _concluded(outcomes: Sequence[Outcome], setting: Setting, asked: Asked) -> Searched:
    chosen = pick(list(measured(outcomes)), asked) if asked else None
    result = conclude(
        outcomes, asked, chosen, reference=str(setting.reference), data=str(setting.data), isa=cpu_isa(),
        noun=load_detector(setting.reference).input.noun, tools=tool_versions(),
    )  # fmt: skip
    html, json = write(result, setting.work)
    return Searched(result, html, json, None if chosen is None else candidate(chosen.form, setting).folder)
