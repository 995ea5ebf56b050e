"""The sweep's plot: what each form costs against what it changes. PNG, the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edge_ad.compile.report.canvas import Ink, Theme, canvas, to_png
from edge_ad.compile.sweep.form import Measured
from edge_ad.compile.sweep.pareto import Axis, axes_of

_MARKS = {"fp32": "o", "fp16": "s", "int8": "D"}


def _drop(found: Measured) -> float | None:
    return found.altered.drop


def _disagreement(found: Measured) -> float | None:
    return None if found.drift is None else 1 - found.drift.rank_correlation


_LOSSES: tuple[tuple[str, Callable[[Measured], float | None]], ...] = (
    ("drop of AUROC on altered inputs", _drop),
    ("1 - rank correlation", _disagreement),
)


def scatter(
    found: Sequence[Measured],
    front: set[str],
    picked: str | None,
    max_drop: float | None,
    theme: Theme = "light",
) -> bytes:
    """One column a cost, one row a measure of drift. found: numbered from 1 in this order; front: keys of the Pareto
    front, which a line joins; picked: key of the form that was picked, which is ringed."""
    axes = axes_of(found)
    with canvas((max(4.6, 3.1 * len(axes)), 5.4), theme) as (figure, ink):
        grid = figure.subplots(len(_LOSSES), max(1, len(axes)), squeeze=False)
        for row, (title, loss) in enumerate(_LOSSES):
            for column, axis in enumerate(axes):
                panel = grid[row][column]
                _panel(panel, found, front, picked, axis, loss, ink)
                panel.set_ylabel(title if column == 0 else "")
                panel.set_xlabel(f"{axis.name}, {axis.unit}" if row == len(_LOSSES) - 1 else "")
                if row == 0 and max_drop is not None:
                    panel.axhline(max_drop, color=ink.anomalous, linestyle="--", linewidth=1.2)
        for precision in dict.fromkeys(m.form.precision for m in found):
            grid[0][0].plot([], [], _MARKS[precision], color=_colour(precision, ink), label=precision)
        grid[0][0].legend(fontsize=7.5, frameon=False, labelcolor=ink.text)
        return to_png(figure)


def _panel(
    panel: Any, found: Sequence[Measured], front: set[str], picked: str | None, axis: Axis,
    loss: Callable[[Measured], float | None], ink: Ink,
) -> None:  # fmt: skip
    line = []
    for number, one in enumerate(found, 1):
        cost, y = axis.value(one), loss(one)
        if cost is None or y is None:
            continue
        colour = _colour(one.form.precision, ink)
        on_front = one.key in front
        x = cost / axis.scale
        panel.plot(
            x, y, _MARKS[one.form.precision], markersize=7, color=colour,
            markerfacecolor=colour if on_front else "none", alpha=0.4 if one.over else 1.0,
        )  # fmt: skip
        if one.key == picked:
            panel.plot(x, y, "o", markersize=14, markerfacecolor="none", color=ink.text)
        panel.annotate(
            str(number), (x, y), xytext=(5, 4), textcoords="offset points", fontsize=7.5, color=ink.text
        )
        if on_front:
            line.append((x, y))
    line.sort()
    panel.plot([x for x, _ in line], [y for _, y in line], color=ink.faint, linewidth=1.2, zorder=0)
    panel.axhline(0, color=ink.faint, linewidth=0.8, zorder=0)
    panel.margins(0.12)


def _colour(precision: str, ink: Ink) -> str:
    return {"fp32": ink.float_, "int8": ink.compiled}.get(precision, ink.anomalous)
