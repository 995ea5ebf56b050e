"""The report's opening in plain words: is the promise kept, what did compiling cost, what to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_ad.compile.report.model import Measurement, PayloadReport
from edge_ad.compile.report.words import Nouns, article, interval, milliseconds, nouns, percent, signed, some
from edge_ad.metrics.evaluation import FalseAlarms, Recall, TestFigures

Level = Literal["good", "caution", "bad"]

AUROC_LOSS = 0.005
"""A loss of AUROC up to this counts as none."""
MOSTLY_FOUND = 0.9
"""Recall from here on is called good; below it is something to know."""
_FASTER = 1.05  # ratios closer to 1 than this are called equal


@dataclass(frozen=True)
class Point:
    """One statement and how good the news is."""

    level: Level
    text: str


@dataclass(frozen=True)
class Verdict:
    """headline: the answer in a few words, as good as the worst of what it answers. points: the reasons."""

    headline: Point
    points: list[Point]


def verdict(payload: PayloadReport, timing: Measurement | None = None, noun: str = "image") -> Verdict:
    """What a reader should take away of one payload. Statements on speed need `timing`. noun: what an input is."""
    w = nouns(noun)
    alarms = payload.test.false_alarms if payload.test is not None else None
    points = [_promise(payload, alarms, w)]
    if payload.test is not None and payload.test.recall is not None:
        points.append(_found(payload.test.recall, w))
    points += _cost(payload, w)
    if timing is not None:
        points.append(_speed(payload, timing))
    points.append(_threshold_basis(payload, w))
    if not payload.budget.fits:
        points.append(Point("bad", "It does not fit its target; see the budget below."))
    points += [Point("caution", text) for text in payload.warnings]
    return Verdict(_headline(payload, alarms, w), points)


def _headline(payload: PayloadReport, alarms: FalseAlarms | None, w: Nouns) -> Point:
    if not payload.budget.fits:
        return Point("bad", "Does not fit its target")
    asked = percent(payload.thresholds.compiled.requested_rate)
    if alarms is None:
        return Point("caution", f"Set for at most {asked} false alarms, not tested on labelled {w.input}s")
    seen = alarms.recalibrated
    tested = some(seen.n, f"{w.good} test {w.input}")
    if seen.rate <= payload.thresholds.compiled.requested_rate:
        return Point("good", f"Keeps its false-alarm budget of {asked} on {tested}")
    if alarms.within:  # more than asked for, but no more than chance explains on so few images
        return Point("good", f"False alarms are in line with the {asked} asked for, on {tested}")
    return Point("bad", f"More false alarms than the {asked} that were asked for")


def _promise(payload: PayloadReport, alarms: FalseAlarms | None, w: Nouns) -> Point:
    threshold = payload.thresholds.compiled
    asked = f"Asked for: at most {percent(threshold.requested_rate)} false alarms on {w.good} {w.part}s."
    if alarms is None:
        return Point(
            "caution",
            f"{asked} The threshold is set for {percent(threshold.expected_rate)}; there were no {w.good} test "
            f"{w.input}s to check it on.",
        )
    seen = alarms.recalibrated
    text = (
        f"{asked} On {some(seen.n, f'{w.good} test {w.input}')} it raised {seen.count} ({percent(seen.rate)}); "
        f"{interval(alarms.predicted)} was to be expected on so many."
    )
    if alarms.within:
        return Point("good", text)
    if seen.rate < alarms.predicted[0]:
        return Point(
            "caution", f"{text} Fewer than expected: the test {w.input}s may be unlike those of the line."
        )
    return Point("bad", f"{text} The test {w.input}s are unlike the held-back ones: {_check(w)}.")


def _found(recall: Recall, w: Nouns) -> Point:
    seen = recall.recalibrated
    text = (
        f"Of {some(seen.n, f'anomalous test {w.input}')} it found {seen.count} ({percent(seen.rate)}; "
        f"95 % interval {interval(seen.interval)})."
    )
    return Point("good" if seen.rate >= MOSTLY_FOUND else "caution", text)


def _cost(payload: PayloadReport, w: Nouns) -> list[Point]:
    """Accuracy before and after, and what keeping the float threshold would have done."""
    if payload.precision == "fp32":
        return [Point("good", "The network runs in float32 as it was fitted; nothing was quantized.")]
    name = payload.precision.upper()
    points = [_accuracy(name, payload, payload.test, w)]
    alarms = payload.test.false_alarms if payload.test is not None else None
    kept, now, n = (
        (alarms.kept.rate, alarms.recalibrated.rate, some(alarms.kept.n, f"{w.good} test {w.input}"))
        if alarms is not None
        else (
            payload.drift.false_alarms_kept,
            payload.drift.false_alarms_recalibrated,
            some(payload.drift.n, f"held-back {w.good} {w.input}"),
        )
    )
    if kept != now:
        points.append(
            Point(
                "good",
                f"{name} moves the scores, so its threshold was calibrated anew. With the float threshold it "
                f"would raise false alarms on {percent(kept)} of {n}, now it does on {percent(now)}.",
            )
        )
    return points


def _accuracy(name: str, payload: PayloadReport, test: TestFigures | None, w: Nouns) -> Point:
    if test is None or test.auroc_change is None or test.auroc_float is None or test.auroc_compiled is None:
        text = (
            f"Float and {name} scores of {some(payload.drift.n, f'held-back {w.good} {w.input}')} agree in order with "
            f"a rank correlation of {payload.drift.rank_correlation:.3f}. How well {w.defects} are told "
            f"from {w.good} {w.part}s was not measured: there were no labelled {w.input}s of both."
        )
        return Point("caution", text)
    change = test.auroc_change
    n = some(test.n_normal + test.n_anomalous, f"test {w.input}")
    if change.value == 0:
        return Point(
            "good",
            f"{name} left AUROC, the chance of ranking {article(w.bad)} {w.part} above {article(w.good)} one, at "
            f"{test.auroc_compiled.value:.3f} on {n}.",
        )
    text = (
        f"{name} changed AUROC, the chance of ranking {article(w.bad)} {w.part} above {article(w.good)} one, by "
        f"{signed(change.value)} ({signed(change.interval[0])} to {signed(change.interval[1])}): from "
        f"{test.auroc_float.value:.3f} to {test.auroc_compiled.value:.3f} on "
        f"{n}."
    )
    return Point("good" if change.value >= -AUROC_LOSS else "caution", text)


def _speed(payload: PayloadReport, timing: Measurement) -> Point:
    times = (
        f"{milliseconds(timing.float_us)} in float32, {milliseconds(timing.compiled_us)} compiled "
        f"({timing.isa}, {timing.threads} thread{'s' if timing.threads > 1 else ''}, on the machine that "
        "compiled it)"
    )
    if payload.stand_in:
        return Point(
            "caution", f"How fast it is there was not measured: this machine is none of its kind ({times})."
        )
    if timing.ratio >= _FASTER:
        return Point("good", f"Compiling made it {timing.ratio:.2g} times as fast: {times}.")
    level: Level = "good" if payload.precision == "fp32" else "caution"
    word = "no faster" if timing.ratio > 1 / _FASTER else "slower"
    return Point(level, f"Compiling made it {word} here: {times}.")


def _threshold_basis(payload: PayloadReport, w: Nouns) -> Point:
    threshold = payload.thresholds.compiled
    wide = threshold.interval[1] > 2 * threshold.requested_rate
    text = (
        f"The threshold rests on {some(threshold.n, f'held-back {w.good} {w.input}')}: the true false-alarm rate lies "
        f"within {interval(threshold.interval)} (95 %)."
    )
    return (
        Point("caution", f"{text} More {w.good} {w.input}s would narrow that.")
        if wide
        else Point("good", text)
    )


def _check(w: Nouns) -> str:
    """Where to look when test inputs are unlike those that the threshold was set on."""
    return "check light, camera and part variants" if w.input == "image" else "check sensor and conditions"
