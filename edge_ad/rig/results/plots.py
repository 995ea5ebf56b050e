"""Plots of what a rig measured: time, costs against the baseline, scores of recorded data, memory over a long run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edge_ad.compile.report.canvas import Theme, canvas, to_png
from edge_ad.rig.outcome import Outcome

_WIDTH = 7.2
_ROW = 0.28
_DPI = 96


@dataclass(frozen=True)
class Plot:
    """draw: to PNG, for a theme. alt: what it shows, for who does not see it."""

    title: str
    alt: str
    draw: Callable[[Theme], bytes]


def plots_of(outcomes: Sequence[Outcome]) -> Iterator[Plot]:
    """In the order of the page."""
    times = [outcome for outcome in outcomes if outcome.status != "skipped"]
    if times:
        slowest = max(times, key=lambda outcome: outcome.seconds)
        told = f"The longest check took {slowest.seconds:.1f} s: {_name(slowest)}."
        yield Plot("Time of each check", told, partial(_times, times))
    costs = [o for o in outcomes if o.check == "budget" and o.figures.get("baseline")]
    if costs:
        yield Plot(
            "Costs, as a share of the baseline", "Bars at 100 % are as the baseline.", partial(_costs, costs)
        )
    for outcome in outcomes:
        if outcome.check == "scores" and "device_scores" in outcome.figures:
            told = f"Each point is one recorded input; on the line, {outcome.device} and the host agree."
            yield Plot(f"Scores of {_name(outcome)}", told, partial(_scores, outcome))
        if outcome.check == "endurance" and outcome.figures.get("elapsed_s"):
            told = "Both lines are straight when nothing wears out."
            yield Plot(f"Endurance of {_name(outcome)}", told, partial(_endurance, outcome))


def _name(outcome: Outcome) -> str:
    return f"{outcome.bundle} on {outcome.device}"


def _times(outcomes: Sequence[Outcome], theme: Theme) -> bytes:
    checks = list(dict.fromkeys(outcome.check for outcome in outcomes))
    devices = list(dict.fromkeys(outcome.device for outcome in outcomes))
    sums = np.array(
        [[sum(o.seconds for o in outcomes if (o.device, o.check) == (d, c)) for c in checks] for d in devices]
    )
    with canvas((_WIDTH, 1 + _ROW * len(devices) * 1.5), theme, _DPI) as (figure, ink):
        axes = figure.add_subplot()
        left = np.zeros(len(devices))
        for number, check in enumerate(checks):
            alpha = 1 - 0.8 * number / max(1, len(checks))
            axes.barh(devices, sums[:, number], left=left, label=check, color=ink.float_, alpha=alpha)
            left += sums[:, number]
        axes.invert_yaxis()
        axes.set_xlabel("seconds")
        axes.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.25))
        return to_png(figure)


def _costs(outcomes: Sequence[Outcome], theme: Theme) -> bytes:
    names, shares = [], []
    for outcome in outcomes:
        for name, before in outcome.figures["baseline"].items():
            if before and name in outcome.figures:
                names.append(f"{_name(outcome)}: {name}")
                shares.append(100 * outcome.figures[name] / before)
    with canvas((_WIDTH, 1 + _ROW * len(names)), theme, _DPI) as (figure, ink):
        axes = figure.add_subplot()
        axes.barh(names, shares, color=[ink.compiled if share > 100 else ink.float_ for share in shares])
        axes.axvline(100, color=ink.text, linewidth=1)
        axes.invert_yaxis()
        axes.set_xlabel("% of the baseline")
        return to_png(figure)


def _scores(outcome: Outcome, theme: Theme) -> bytes:
    host, device = outcome.figures["host_scores"], outcome.figures["device_scores"]
    with canvas((_WIDTH, 3.2), theme, _DPI) as (figure, ink):
        axes = figure.add_subplot()
        axes.plot(*[[min(host), max(host)]] * 2, color=ink.faint, linewidth=1, zorder=0)
        axes.scatter(host, device, s=10, color=ink.float_)
        axes.axhline(
            outcome.figures["threshold"], color=ink.compiled, linewidth=1, linestyle="--", label="threshold"
        )
        axes.set_xlabel(f"score on the host ({outcome.figures['reference']})")
        axes.set_ylabel("score on the device")
        axes.legend(frameon=False)
        return to_png(figure)


def _endurance(outcome: Outcome, theme: Theme) -> bytes:
    seconds, stack = outcome.figures["elapsed_s"], outcome.figures["stack_bytes"]
    done = np.linspace(
        outcome.figures["inferences"] / len(seconds), outcome.figures["inferences"], len(seconds)
    )
    with canvas((_WIDTH, 2.6), theme, _DPI) as (figure, ink):
        left, right = figure.subplots(1, 2)
        left.plot(done, seconds, color=ink.float_)
        left.set_xlabel("inferences")
        left.set_ylabel("seconds")
        right.plot(done, stack, color=ink.compiled)
        right.set_ylim(0, max([1, *stack]) * 1.2)
        right.set_xlabel("inferences")
        right.set_ylabel("stack used at most, bytes")
        return to_png(figure)
