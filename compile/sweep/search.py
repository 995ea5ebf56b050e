"""The search: which forms there are to measure, and measuring those that the journal does not hold."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from edge_ad.compile.sweep.executors import Workers, processes
from edge_ad.compile.sweep.form import Failed, Form, Keep, Measured, Outcome, basis_of, folder_digest, key_of
from edge_ad.compile.sweep.journal import Journal
from edge_ad.compile.sweep.measure import measure
from edge_ad.compile.sweep.setting import Setting
from edge_ad.compile.target import Precision, Target
from edge_ad.errors import SweepError, UsageError

Told = Callable[[Outcome], None]
Work = Callable[[str, Form, Setting], Outcome]
_LOST = "its process was ended from outside twice; it may need more memory than there is"


@dataclass(frozen=True)
class Keys:
    """From a form to its key in the journal."""

    basis: str
    models: dict[str, str]

    def __call__(self, form: Form) -> str:
        return key_of(form, self.models[form.model], self.basis)


def keys_of(setting: Setting, models: Sequence[Path]) -> Keys:
    """Raises ModelError, DataError."""
    digests = {str(model): folder_digest(model) for model in models}
    basis = basis_of(
        folder_digest(setting.reference), setting.data, seed=setting.seed, steps=setting.steps,
        tolerance=repr(setting.tolerance), count=setting.count, test=setting.test,
    )  # fmt: skip
    return Keys(basis, digests)


def plan(
    models: Sequence[Path], targets: Sequence[Target], shares: Sequence[float], precisions: Sequence[Precision],
    keep: Keep = (),
) -> list[Form]:  # fmt: skip
    """Every form to be measured, the reference model's plain one first on each target: speedups on boards are held to
    it. precisions: those of each target where none are named. keep: layers of further int8 forms, beside those that
    keep none, on targets that have such forms.

    Raises UsageError for a share that is none and for a target that has none of the precisions.
    """
    for share in shares:
        if not 0 <= share < 1:
            raise UsageError(f"a share to prune is 0 or more and below 1, not {share:g}")
    forms = []
    for target in targets:
        chosen = [p for p in precisions if p in target.precisions] if precisions else list(target.precisions)
        if not chosen:
            raise UsageError(
                f"'{target.name}' has none of {', '.join(precisions)}",
                hint=f"it has: {', '.join(target.precisions)}",
            )
        forms.append(baseline(models[0], target))
        for model, share, precision in product(models, shares, chosen):
            form = Form(model=str(model), target=target.name, precision=precision, prune=share)
            forms.append(form)
            if keep and precision == "int8":
                forms.append(form.model_copy(update={"keep": keep}))
    return list(dict.fromkeys(forms))


def baseline(model: Path, target: Target) -> Form:
    """The model as it is in the target's first precision."""
    return Form(model=str(model), target=target.name, precision=target.precisions[0])


def search(
    forms: Iterable[Form], setting: Setting, keys: Keys, journal: Journal, workers: Workers, told: Told,
    work: Work = measure,
) -> list[Outcome]:  # fmt: skip
    """Outcomes of `forms`, in order. What the journal holds is not measured again.

    told: of each outcome, as it comes. work: what measures a form, a function of a module. A form whose process is
    ended from outside is tried once more, in a process of its own; after that it counts as failed, but not in the
    journal, so that the next run tries it again. Raises SweepError when the executor is lost.
    """
    wanted = {keys(form): form for form in forms}
    for key in wanted:
        if key in journal.outcomes:
            told(journal.outcomes[key])
    todo = {key: form for key, form in wanted.items() if key not in journal.outcomes}
    measuring = _Measuring(setting, journal, told, work)
    lost: list[str] = []
    while todo:
        lost += measuring.round(todo, workers)
    failed: dict[str, Outcome] = {}
    for key in lost:
        if measuring.round({key: wanted[key]}, processes(1)):
            failed[key] = Failed(key=key, form=wanted[key], error=_LOST, seconds=0.0)
            told(failed[key])
    return with_speedups([failed.get(key) or journal.outcomes[key] for key in wanted])


@dataclass(frozen=True)
class _Measuring:
    """What `search` was given."""

    setting: Setting
    journal: Journal
    told: Told
    work: Work

    def round(self, todo: dict[str, Form], workers: Workers) -> list[str]:
        """Measure `todo` until all is done or the executor breaks, and take from it what was tried. Returns the keys of
        those that a process was lost over, or may have been."""
        lost: list[str] = []
        running: dict[Future[Outcome], str] = {}
        with workers.open() as executor:
            while todo or running:
                try:
                    while todo and len(running) < (workers.at_once or sys.maxsize):
                        key, form = next(iter(todo.items()))
                        running[executor.submit(self.work, key, form, self.setting)] = key
                        del todo[key]
                except BrokenExecutor:
                    return [*lost, *running.values()]
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    if self._is_lost(future):
                        lost.append(running[future])
                    del running[future]
        return lost

    def _is_lost(self, future: Future[Outcome]) -> bool:
        """Keep the outcome of a future that is done; whether its process was lost instead."""
        try:
            outcome = future.result()
        except CancelledError as error:
            raise SweepError(
                "the cluster's scheduler is gone", hint="the same command goes on from the journal"
            ) from error
        except Exception as error:
            if not _is_loss(error):
                raise
            return True
        self.journal.add(outcome)
        self.told(outcome)
        return False


def _is_loss(error: Exception) -> bool:
    """Whether an executor says that the process was lost: a pool's way, and Dask's, which need not be installed."""
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"


def with_speedups(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Boards' speedups, by instructions, over the first form measured on the same target: the baseline."""
    base: dict[str, int] = {}
    for outcome in outcomes:
        if isinstance(outcome, Measured) and outcome.instructions is not None and _is_plain(outcome.form):
            base.setdefault(outcome.form.target, outcome.instructions)

    def told(outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Measured) or outcome.instructions is None:
            return outcome
        if outcome.form.target not in base:
            return outcome
        return outcome.model_copy(update={"speedup": base[outcome.form.target] / outcome.instructions})

    return [told(outcome) for outcome in outcomes]


def _is_plain(form: Form) -> bool:
    return not form.prune and not form.keep


def measured(outcomes: Iterable[Outcome]) -> Iterator[Measured]:
    """Those that could be measured."""
    return (outcome for outcome in outcomes if isinstance(outcome, Measured))
