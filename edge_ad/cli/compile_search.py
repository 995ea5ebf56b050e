"""`edge-ad compile` with a budget: the search for the form, told rung by rung."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console

from edge_ad.cli.options import stages
from edge_ad.cli.sweep_command import unmet
from edge_ad.errors import QualityError

if TYPE_CHECKING:
    from edge_ad.compile.sensitivity.agreement import Tolerance
    from edge_ad.compile.sweep.form import Asked, Measured
    from edge_ad.compile.sweep.ladder import Rung
    from edge_ad.compile.target import Precision, Target


class Found(NamedTuple):
    """What is to be compiled. precision: None for the target's own; keep: layers in a higher one; notes: why, for the
    report."""

    model: Path
    precision: Precision | None
    keep: tuple[str, ...] | Tolerance
    notes: tuple[tuple[str, str], ...]


def find_form(
    model: Path, target: Target, data: Path, bundle: Path, asked: Asked, keep: tuple[str, ...] | Tolerance,
    console: Console,
) -> Found:  # fmt: skip
    """The first form on the ladder that meets what is asked; each one's figures go to `console`. keep: layers that int8
    forms keep in a higher precision, or the tolerance by which they are found.

    Raises QualityError (exit 3) with the nearest form, and what it misses, when none does.
    """
    from edge_ad import targets
    from edge_ad.compile.sensitivity.agreement import Tolerance
    from edge_ad.compile.sweep.ladder import climb
    from edge_ad.compile.sweep.setting import Setting

    work = bundle.with_suffix(".sweep")
    counted = asked.speedup is not None  # what boards are fast by
    setting = Setting(
        model.absolute(), data.absolute(), work.absolute(), targets.get,
        tolerance=Tolerance(auroc_drop=asked.max_drop) if isinstance(keep, tuple) else keep,
        count=counted, test=False,
    )  # fmt: skip
    told = _teller(console)  # before standard output is taken away from what libraries print
    with stages() as stage, contextlib.redirect_stdout(sys.stderr):
        done = stage("search the form", 1)
        found = climb(
            setting.reference, target, setting, asked, told, keep if isinstance(keep, tuple) else "auto"
        )
        done()
    for note in dict.fromkeys(note for m in found.sweep.measured for note in m.notes):
        console.print(f"note: {note}", soft_wrap=True, markup=False)
    console.print(f"search {work / found.html.name}", soft_wrap=True)
    if found.model is None or found.sweep.picked is None:
        raise QualityError(
            unmet(found.sweep), where=target.name,
            hint=f"ask for less, or compile another preset (edge-ad fit); all figures: {work / found.html.name}",
        )  # fmt: skip
    chosen = found.sweep.form(found.sweep.picked)
    return Found(found.model, chosen.form.precision, tuple(chosen.kept), (("search", _why(chosen, asked)),))


def _teller(console: Console) -> Callable[[Rung], None]:
    """Prints one line a rung."""
    fixed = Console(file=console.file, highlight=False, soft_wrap=True)

    def told(rung: Rung) -> None:
        fixed.print(_line(rung), markup=False)

    return told


def _line(rung: Rung) -> str:
    from edge_ad.compile.sweep.form import Failed
    from edge_ad.compile.sweep.ladder import Skipped

    if isinstance(rung, Skipped):
        return f"{rung.form}: passed over, {rung.why}"
    if isinstance(rung, Failed):
        return f"{rung.form}: not to be had, {rung.error}"
    figures = [
        *([] if rung.gain is None else [rung.gain]),
        f"{rung.flash_bytes / 1024:.1f} KB flash",
        f"{rung.ram_bytes / 1024:.1f} KB RAM",
        f"AUROC {rung.altered.form.value:.4f}, {-rung.altered.drop:+.4f} (altered inputs)",
        *([] if rung.drift is None else [f"rank correlation {rung.drift.rank_correlation:.4f}"]),
        *rung.over,
    ]
    return f"{rung.form}: {', '.join(figures)}"


def _why(chosen: Measured, asked: Asked) -> str:
    """For the report, without times, which vary from compile to compile."""
    limits = [
        *([] if asked.speedup is None else [f"{asked.speedup:g} times as fast"]),
        *([] if asked.flash_bytes is None else [f"at most {asked.flash_bytes:,} bytes of flash"]),
        *([] if asked.ram_bytes is None else [f"at most {asked.ram_bytes:,} bytes of memory"]),
        *([] if asked.max_drop is None else [f"AUROC down by {asked.max_drop:g} at most"]),
    ]
    ranking = chosen.altered
    return (
        f"This form was searched for: {', '.join(limits)}. On {ranking.form.n_normal} held-back normal inputs and "
        f"{ranking.form.n_anomalous} altered copies of them AUROC is {ranking.form.value:.4f}, "
        f"{ranking.reference.value:.4f} for the fitted network in float; no labelled input took part."
    )
