"""Results as one self-contained page of HTML with plots: for who was not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import resources
from typing import Any

from edge_ad.compile.report.canvas import data_uri
from edge_ad.errors import MissingDependencyError
from edge_ad.rig.config import Rig
from edge_ad.rig.outcome import Outcome, exit_code
from edge_ad.rig.results.plots import Plot, plots_of

_TEMPLATE = "rig.html.j2"


@dataclass(frozen=True)
class Shown:
    """A plot as the page has it: as `src` attributes, for both themes."""

    title: str
    alt: str
    light: str
    dark: str


def html_page(rig: Rig, outcomes: Sequence[Outcome]) -> str:
    """The page. Raises MissingDependencyError without jinja2 or matplotlib."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingDependencyError(
            "the page needs jinja2 and matplotlib", hint="pip install 'edge-ad[rig]'"
        ) from error
    source = (resources.files(__package__) / _TEMPLATE).read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    checks = list(dict.fromkeys(outcome.check for outcome in outcomes))
    page: str = template.render(
        rig=rig,
        when=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        outcomes=outcomes,
        checks=checks,
        rows=_rows(outcomes, checks),
        devices=_devices(outcomes),
        counts=Counter(outcome.status for outcome in outcomes),
        code=exit_code(outcomes),
        plots=[_shown(plot) for plot in plots_of(outcomes)],
        figures=_figures,
    )
    return page


def _rows(outcomes: Sequence[Outcome], checks: Sequence[str]) -> list[tuple[str, str, list[Outcome | None]]]:
    found: dict[tuple[str, str], dict[str, Outcome]] = {}
    for outcome in outcomes:
        found.setdefault((outcome.device, outcome.bundle), {})[outcome.check] = outcome
    return [(device, bundle, [row.get(check) for check in checks]) for (device, bundle), row in found.items()]


def _devices(outcomes: Sequence[Outcome]) -> dict[str, dict[str, str]]:
    """What each device said of itself."""
    found: dict[str, dict[str, str]] = {}
    for outcome in outcomes:
        told = {k: v for k, v in outcome.properties.items() if k != "bundle_digest"}
        if told:
            found[outcome.device] = told
    return found


def _figures(outcome: Outcome) -> dict[str, Any]:
    """Figures that are one number or text, numbers to be read."""
    return {
        name: f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else value
        for name, value in outcome.figures.items()
        if isinstance(value, (str, int, float))
    }


def _shown(plot: Plot) -> Shown:
    return Shown(plot.title, plot.alt, data_uri(plot.draw("light")), data_uri(plot.draw("dark")))
