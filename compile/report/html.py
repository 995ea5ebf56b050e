"""The report as one HTML file that needs nothing else: no script, no request, style and figures inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from edge_ad.compile.report import words
from edge_ad.compile.report.canvas import data_uri
from edge_ad.compile.report.examples import Example, example, map_scale
from edge_ad.compile.report.figures import FigureData, histogram, roc
from edge_ad.compile.report.model import Measurement, PayloadReport, Report
from edge_ad.compile.report.verdict import Verdict, verdict
from edge_ad.errors import DataError, MissingDependencyError


@dataclass(frozen=True)
class Plot:
    """A figure in both themes, as `src` values, with its text for those who cannot see it."""

    light: str
    dark: str
    alt: str


@dataclass(frozen=True)
class Shown:
    """An example image with its caption's facts."""

    item: Example
    src: str
    alt: str


@dataclass(frozen=True)
class Drawn:
    """The pictures of one payload."""

    histogram: Plot | None = None
    roc: Plot | None = None
    examples: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class Section:
    """All that the template shows of one payload."""

    payload: PayloadReport
    timing: Measurement | None
    verdict: Verdict
    histogram: Plot | None
    roc: Plot | None
    examples: tuple[Shown, ...]

    @property
    def outlined(self) -> bool:
        """Whether any example shows the outline of a marked defect."""
        return any(shown.item.mask is not None and shown.item.mask.any() for shown in self.examples)


def draw(report: Report, figures: Sequence[FigureData]) -> dict[str, Drawn]:
    """The pictures of each payload, by target. Raises DataError for figures of a target that the report lacks,
    MissingDependencyError without matplotlib."""
    payloads = {payload.target: payload for payload in report.payloads}
    drawn = {}
    for data in figures:
        payload = payloads.get(data.target)
        if payload is None:
            raise DataError(
                f"figures for '{data.target}', which the report does not hold", where=report.bundle.name
            )
        drawn[data.target] = Drawn(_histogram(payload, data), _roc(payload, data), _examples(data.examples))
    return drawn


def render(report: Report, drawn: Mapping[str, Drawn] | None = None) -> str:
    """The HTML file's text, the same for the same arguments.

    drawn: as `draw` gives them; a payload that is not among them is shown without pictures. Timings are shown only
    where `report.measurement` holds them. Raises MissingDependencyError without jinja2.
    """
    pictures = drawn or {}
    sections = [
        _section(report, payload, pictures.get(payload.target, Drawn())) for payload in report.payloads
    ]
    return fill("report.html.j2", report=report, sections=sections, words_of=words.nouns(report.data.noun))


def fill(template: str, package: str = "edge_ad.compile.report", **values: Any) -> str:
    """A template file of `package`, with the style that all reports share as `style`. Raises MissingDependencyError
    without jinja2."""
    source = resources.files(package).joinpath(template).read_text("utf-8")
    style = resources.files("edge_ad.compile.report").joinpath("style.css").read_text("utf-8")
    text: str = _environment().from_string(source).render(style=style, **values)
    return text


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise MissingDependencyError(
            "the report needs jinja2", hint="install it: pip install 'edge-ad[compile]'"
        ) from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for name in (
        "percent",
        "interval",
        "signed",
        "milliseconds",
        "size",
        "count",
        "score",
        "some",
        "article",
    ):
        environment.filters[name] = getattr(words, name)
    return environment


def _section(report: Report, payload: PayloadReport, drawn: Drawn) -> Section:
    timing = report.timing(payload.target)
    judged = verdict(payload, timing, report.data.noun)
    return Section(payload, timing, judged, drawn.histogram, drawn.roc, drawn.examples)


def _histogram(payload: PayloadReport, data: FigureData) -> Plot:
    thresholds = payload.thresholds
    return Plot(
        light=data_uri(histogram(data, thresholds, "light")),
        dark=data_uri(histogram(data, thresholds, "dark")),
        alt=(
            "Two histograms of anomaly scores on one axis, float network above, compiled network below, with "
            f"the float threshold at {words.score(thresholds.float_.value)} and the compiled threshold at "
            f"{words.score(thresholds.compiled.value)}."
        ),
    )


def _roc(payload: PayloadReport, data: FigureData) -> Plot | None:
    light, dark = (roc(data, payload.thresholds, theme) for theme in ("light", "dark"))
    if light is None or dark is None or payload.test is None:
        return None
    before, after = payload.test.auroc_float, payload.test.auroc_compiled
    assert before is not None and after is not None  # roc() has seen both classes
    return Plot(
        light=data_uri(light),
        dark=data_uri(dark),
        alt=(
            f"ROC curves of the float network (area {before.value:.3f}) and the compiled network "
            f"(area {after.value:.3f}) with their operating points."
        ),
    )


def _examples(items: Sequence[Example]) -> tuple[Shown, ...]:
    if not items:
        return ()
    scale = map_scale(list(items))
    return tuple(Shown(item, data_uri(example(item, scale)), _alt(item)) for item in items)


def _alt(item: Example) -> str:
    said = "an alarm" if item.alarm else "no alarm"
    return f"{item.name} ({item.kind}) on the left, its anomaly map on the right: {said}."
