"""`edge-ad sweep`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from edge_ad.cli.budget_options import asked_of, budget_options
from edge_ad.cli.keep_options import AUTO, keep_of, keep_options
from edge_ad.cli.options import errors, out, stages
from edge_ad.errors import QualityError, UsageError

if TYPE_CHECKING:
    from edge_ad.compile.sweep.form import Measured, Outcome
    from edge_ad.compile.sweep.report import Sweep


class _Listed(click.ParamType):
    """Values separated by commas."""

    name = "list"

    def __init__(self, of: Callable[[str], Any], what: str):
        self._of, self._what = of, what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return tuple(self._of(word.strip()) for word in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of {self._what}", param, ctx)


def _precision(word: str) -> str:
    if word not in ("int8", "fp16", "fp32"):
        raise ValueError(word)
    return word


@click.command("sweep")
@click.argument("models", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--data", type=click.Path(path_type=Path), required=True,
              help="The folder that the models were fitted on (test/ is read for the report only).")  # fmt: skip
@click.option("--target", "target_names", multiple=True, required=True,
              help="Device to measure for; may be given several times. See: edge-ad targets.")  # fmt: skip
@click.option("--prune", "shares", type=_Listed(float, "shares, such as 0,0.25,0.5"), default="0", show_default=True,
              help="Shares of the multiply-accumulates to remove.")  # fmt: skip
@click.option("--precision", "precisions", type=_Listed(_precision, "precisions: int8, fp16, fp32"), default=(),
              help="Number formats, such as int8,fp32 (default: all that the target has).")  # fmt: skip
@keep_options
@click.option("--out", "out_", type=click.Path(path_type=Path), required=True,
              help="Folder for the journal, pruned models and the report; a sweep in it goes on.")  # fmt: skip
@budget_options
@click.option("--jobs", type=click.IntRange(1), help="Processes on this machine (default: half of its CPUs).")
@click.option("--scheduler", metavar="tcp://HOST:PORT",
              help="Measure on the workers of this Dask cluster, which see the same folders.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of altered inputs and of pruning.")
@click.option(
    "--recovery-steps",
    type=click.IntRange(1),
    help="Steps of the recovery from pruning (default: the detector's).",
)
@click.option("--no-count", is_flag=True, help="Boards: do not count instructions on an emulated one.")
@click.option("--no-test", is_flag=True, help="Do not score the labelled inputs below test/.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON (docs/sweep.md).")
def command(
    models: tuple[Path, ...], data: Path, target_names: tuple[str, ...], shares: tuple[float, ...],
    precisions: tuple[str, ...], keep: tuple[str, ...], max_score_drift: float | None, out_: Path,
    speedup: float | None, max_auroc_drop: float | None,
    flash_kb: float | None, ram_kb: float | None, jobs: int | None, scheduler: str | None, seed: int,
    recovery_steps: int | None, no_count: bool, no_test: bool, as_json: bool,
) -> None:  # fmt: skip
    """Measure many forms of a detector, and show which are worth having.

    MODELS are model folders, such as presets of one detector fitted on the same data; the first one, unpruned and in
    float, is what all are held to. Every model is measured pruned by each share and in each precision: time (or
    instructions, flash and memory on boards) against what becomes of the scores. Drift is judged on held-back normal
    inputs and altered copies of them, never on labels. With a budget or a tolerance the form that meets it is picked;
    exit 3 when none does.
    """
    from edge_ad import targets
    from edge_ad.compile.sweep import executors
    from edge_ad.compile.sweep.run import sweep
    from edge_ad.compile.sweep.setting import Setting

    if scheduler is not None and jobs is not None:
        raise UsageError("--jobs is for this machine, a cluster has its own workers", hint="give one of them")
    asked = asked_of(speedup, max_auroc_drop, flash_kb, ram_kb)
    kept = keep_of(keep, max_score_drift, max_auroc_drop if AUTO in keep else None)
    half = max(1, (os.cpu_count() or 1) // 2)
    workers = executors.processes(jobs or half) if scheduler is None else executors.dask(scheduler)
    paths = [model.absolute() for model in models]
    setting = Setting(
        paths[0],
        data.absolute(),
        out_.absolute(),
        targets.get,
        seed=seed,
        steps=recovery_steps,
        tolerance=None if isinstance(kept, tuple) else kept,
        count=not no_count,
        test=not no_test,
    )
    with _progress() as (planned, told), contextlib.redirect_stdout(sys.stderr):
        done = sweep(
            paths, [targets.get(name) for name in target_names], setting, asked, workers, shares=shares,
            precisions=precisions, keep=kept if isinstance(kept, tuple) else AUTO, planned=planned, told=told,  # type: ignore[arg-type]
        )  # fmt: skip
    if as_json:
        click.echo(done.json.read_text(), nl=False)
    else:
        show(done.sweep)
        out.print(f"report {out_ / done.html.name}", soft_wrap=True)
    if asked and done.model is None:
        raise QualityError(unmet(done.sweep), where=out_, hint="ask for less, or sweep further forms")


@contextlib.contextmanager
def _progress() -> Iterator[tuple[Callable[[int], None], Callable[[Outcome], None]]]:
    """A bar of forms on standard error, and a line for each that failed."""
    from edge_ad.compile.sweep.form import Failed

    ticks: list[Callable[[], None]] = []
    with stages() as stage:

        def told(outcome: Outcome) -> None:
            ticks[0]()
            if isinstance(outcome, Failed):
                errors.print(f"not measured: {outcome.form}: {outcome.error}", soft_wrap=True, markup=False)

        yield lambda n: ticks.append(stage("measure forms", n)), told


def show(sweep: Sweep) -> None:
    """A table of each target on standard output, and the pick."""
    from edge_ad.compile.sweep.report import section

    for target in sweep.targets:
        table = Table(box=None, pad_edge=False, title=target, title_justify="left")
        for name in ("model", "precision", "pruned"):
            table.add_column(name, no_wrap=True)
        for name in (
            "cost",
            "ratio",
            "flash KB",
            "RAM KB",
            "AUROC drop",
            "rank",
            "labelled",
            "front",
        ):
            table.add_column(name, justify="right", no_wrap=True)
        for row in section(sweep, target).rows:
            table.add_row(*_cells(row.found), "*" if row.on_front else "", style="bold" if row.picked else "")
        Console(highlight=False, width=max(out.width, 160)).print(table)
    for note in dict.fromkeys(note for m in sweep.measured for note in m.notes):
        out.print(f"note: {note}", soft_wrap=True, markup=False)
    if sweep.picked is not None:
        out.print(f"picked {sweep.form(sweep.picked).form}", soft_wrap=True, markup=False)


def _cells(found: Measured) -> list[str]:
    cost = "-"
    if found.latency_us is not None:
        cost = f"{found.latency_us / 1000:.3g} ms"
    elif found.instructions is not None:
        cost = f"{found.instructions / 1e6:.2f} M instructions"
    return [
        found.form.name,
        found.form.precision + (f", {len(found.kept)} kept" if found.form.keep else ""),
        f"{100 * found.form.prune:g} %",
        cost,
        "-" if found.speedup is None else f"{found.speedup:.2f}",
        f"{found.flash_bytes / 1024:.1f}",
        f"{found.ram_bytes / 1024:.1f}" + (" over" if found.over else ""),
        f"{found.altered.drop:+.4f}",
        "-" if found.drift is None else f"{found.drift.rank_correlation:.4f}",
        "-" if found.labelled is None else f"{found.labelled.form.value:.3f}",
    ]


def unmet(sweep: Sweep) -> str:
    """One clause for a search without a pick: the nearest form, and what it misses."""
    if sweep.nearest is None:
        why = f" ({sweep.failed[0].error})" if sweep.failed else ""
        return f"no form could be measured{why}"
    near = sweep.form(sweep.nearest)
    return f"no form meets what was asked; nearest is {near.form}: {', '.join(sweep.misses)}"
