"""A sweep's result: as JSON, and as one HTML file with a table and a plot for each target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from edge_ad.bundle.atomic import write_atomic
from edge_ad.bundle.manifest import Spec
from edge_ad.compile.report.canvas import data_uri
from edge_ad.compile.report.html import Plot, fill
from edge_ad.compile.sweep.form import Asked, Failed, Measured, Outcome
from edge_ad.compile.sweep.pareto import axes_of, front, misses, nearest
from edge_ad.compile.sweep.plot import scatter

SWEEP_JSON = "sweep.json"
SWEEP_HTML = "sweep.html"


class Sweep(Spec):
    """The whole result. Forms are named by their keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["edge-ad/sweep/1"] = Field(default="edge-ad/sweep/1", alias="schema")
    reference: str = Field(description="folder of the model that forms are held to, unpruned and in float")
    data: str
    noun: str = Field(description="what an input is called")
    isa: str = Field(description="instruction set of the machine that measured")
    asked: Asked
    outcomes: list[Outcome]
    front: list[str] = Field(description="forms that no other one beats on their target")
    picked: str | None = Field(description="the form that meets what was asked")
    nearest: str | None = Field(description="where none does, the one that misses least")
    misses: list[str] = Field(default=[], description="what that one misses")
    tools: dict[str, str] = Field(default={}, description="versions of what shaped the forms")

    @property
    def reference_name(self) -> str:
        """The reference's, without its place."""
        return Path(self.reference).name

    def form(self, key: str) -> Measured:
        """A form that was measured, by its key. Raises KeyError."""
        return {m.key: m for m in self.measured}[key]

    @property
    def measured(self) -> list[Measured]:
        """The forms that could be measured."""
        return [o for o in self.outcomes if isinstance(o, Measured)]

    @property
    def failed(self) -> list[Failed]:
        """Those that could not."""
        return [o for o in self.outcomes if isinstance(o, Failed)]

    def of_target(self, target: str) -> list[Measured]:
        """What was measured on one target."""
        return [m for m in self.measured if m.form.target == target]

    @property
    def targets(self) -> list[str]:
        """All targets, in order."""
        return list(dict.fromkeys(o.form.target for o in self.outcomes))


def conclude(outcomes: Sequence[Outcome], asked: Asked, chosen: Measured | None, **facts: object) -> Sweep:
    """The result. chosen: the pick, None where no form meets what was asked, or nothing was. facts: `Sweep`'s other
    fields."""
    found = [o for o in outcomes if isinstance(o, Measured)]
    best = [m.key for target in dict.fromkeys(m.form.target for m in found)
            for m in front([m for m in found if m.form.target == target])]  # fmt: skip
    near = nearest(found, asked) if asked and chosen is None else None
    return Sweep(
        asked=asked,
        outcomes=list(outcomes),
        front=best,
        picked=None if chosen is None else chosen.key,
        nearest=None if near is None else near.key,
        misses=[] if near is None else list(misses(near, asked)),
        **facts,  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class Row:
    """One line of the table. number: as in the plot."""

    number: int
    found: Measured
    on_front: bool
    picked: bool


@dataclass(frozen=True)
class Section:
    """All of one target."""

    target: str
    rows: tuple[Row, ...]
    plot: Plot | None
    failed: tuple[Failed, ...]
    notes: tuple[str, ...]


def write(sweep: Sweep, folder: Path) -> tuple[Path, Path]:
    """The HTML and the JSON file in the sweep's folder. Raises BundleError where they cannot be written."""
    html, data = folder / SWEEP_HTML, folder / SWEEP_JSON
    write_atomic(data, (sweep.model_dump_json(by_alias=True, indent=2) + "\n").encode())
    write_atomic(html, render(sweep).encode())
    return html, data


def render(sweep: Sweep) -> str:
    """The HTML file's text: no script, no request, figures inside. Raises MissingDependencyError."""
    sections = [section(sweep, target) for target in sweep.targets]
    return fill("sweep.html.j2", "edge_ad.compile.sweep", sweep=sweep, sections=sections)


def section(sweep: Sweep, target: str) -> Section:
    """One target's table and plot; the cheapest form first."""
    found = sweep.of_target(target)
    axes = axes_of(found)
    ordered = sorted(found, key=lambda m: tuple(axis.value(m) or 0 for axis in axes))
    rows = tuple(
        Row(number, m, m.key in sweep.front, m.key == sweep.picked) for number, m in enumerate(ordered, 1)
    )
    return Section(
        target,
        rows,
        _plot(sweep, rows, target) if rows else None,
        tuple(f for f in sweep.failed if f.form.target == target),
        tuple(dict.fromkeys(note for m in ordered for note in m.notes)),
    )


def _plot(sweep: Sweep, rows: Sequence[Row], target: str) -> Plot:
    found = [row.found for row in rows]
    light, dark = (
        scatter(found, set(sweep.front), sweep.picked, sweep.asked.max_drop, theme)
        for theme in ("light", "dark")
    )
    costs = ", ".join(axis.name for axis in axes_of(found))
    alt = (
        f"Every form on {target}: {costs} against the drop of AUROC on altered inputs and against the change of ranks. "
        f"The table holds the same figures; {sum(row.on_front for row in rows)} of {len(rows)} are on the Pareto front."
    )
    return Plot(light=data_uri(light), dark=data_uri(dark), alt=alt)
