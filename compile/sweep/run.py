"""A whole sweep: plan, search, report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_ad.compile.pipeline import tool_versions
from edge_ad.compile.sweep.candidate import candidate
from edge_ad.compile.sweep.executors import Workers
from edge_ad.compile.sweep.form import Asked, Keep, Outcome
from edge_ad.compile.sweep.journal import Journal, journal
from edge_ad.compile.sweep.pareto import pick
from edge_ad.compile.sweep.report import Sweep, conclude, write
from edge_ad.compile.sweep.search import Keys, keys_of, measured, plan, search
from edge_ad.compile.sweep.setting import Setting
from edge_ad.compile.target import Precision, Target
from edge_ad.detectors import load_detector
from edge_ad.runtime.isa import cpu_isa

Told = Callable[[Outcome], None]
Planned = Callable[[int], None]


@dataclass(frozen=True)
class Searched:
    """A sweep's result. model: folder of the picked form's model, None without a pick. html, json: the report."""

    sweep: Sweep
    html: Path
    json: Path
    model: Path | None


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
    with opened(models, setting) as (keys, kept):
        outcomes = search(forms, setting, keys, kept, workers, told)
    return concluded(outcomes, setting, asked)


@contextmanager
def opened(models: Sequence[Path], setting: Setting) -> Iterator[tuple[Keys, Journal]]:
    """The keys of a sweep's forms, and its journal. Raises ModelError, DataError, SweepError."""
    keys = keys_of(setting, models)
    with journal(setting.work) as kept:
        yield keys, kept


def concluded(outcomes: Sequence[Outcome], setting: Setting, asked: Asked) -> Searched:
    """The pick, and the report in the sweep's folder."""
    chosen = pick(list(measured(outcomes)), asked) if asked else None
    result = conclude(
        outcomes, asked, chosen, reference=str(setting.reference), data=str(setting.data), isa=cpu_isa(),
        noun=load_detector(setting.reference).input.noun, tools=tool_versions(),
    )  # fmt: skip
    html, json = write(result, setting.work)
    return Searched(result, html, json, None if chosen is None else candidate(chosen.form, setting).folder)
