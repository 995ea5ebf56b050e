"""Compiling for one target and measuring what that changed, with the device's own engine and options."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_ad.bundle.manifest import Drift, HeadSpec, InputSpec, Threshold, Thresholds
from edge_ad.compile import board_payload
from edge_ad.compile.accuracy import measure
from edge_ad.compile.capture import Captured, Parity, check_parity
from edge_ad.compile.latency import Latency, compare
from edge_ad.compile.opening import open_lowered as open_lowered
from edge_ad.compile.scores import Scores, batches, run, score
from edge_ad.compile.sensitivity.agreement import Tolerance
from edge_ad.compile.sensitivity.plan import find_plan
from edge_ad.compile.sensitivity.report import PrecisionPlan
from edge_ad.compile.target import Calibration, ImageTarget, Lowered, Precision, Target
from edge_ad.data.inputs import Labelled, Normals, find_labelled
from edge_ad.detectors.base import Detector
from edge_ad.metrics.drift import drift
from edge_ad.metrics.evaluation import TestFigures
from edge_ad.metrics.rejection import rejection_band
from edge_ad.metrics.threshold import allowed_thresholds, calibrate_threshold, reference_quantiles
from edge_ad.runtime.engines.base import Engine, EngineInfo, Tensor

N_PARITY = 4
Stage = Callable[[str, int], Callable[[], None]]  # (what, how many) -> called once for each one done


@dataclass(frozen=True)
class Form:
    """One form of the network at work: what it is, its engine, its head, its scores of held-back normals."""

    lowered: Lowered
    engine: Engine
    head: HeadSpec
    normal: Scores


@dataclass(frozen=True)
class TestScores:
    """Scores of the labelled test inputs, float and compiled."""

    __test__ = False

    labelled: Labelled
    float_: Scores
    compiled: Scores
    figures: TestFigures


@dataclass(frozen=True)
class Verified:
    """Everything that is known of one compiled payload. latency: None for boards, which this machine is none of.
    plan: the layers that were searched to stay in higher precision. price: the fully quantized network's latency in
    place of the float one's, where layers were kept."""

    target: Target
    float_: Form
    compiled: Form
    parity: Parity
    thresholds: Thresholds
    drift: Drift
    test: TestScores | None
    latency: Latency | None
    engine: EngineInfo
    golden_inputs: list[Tensor]
    plan: PrecisionPlan | None = None
    price: Latency | None = None


@contextmanager
def verified(
    detector: Detector,
    captured: Captured,
    targets: Sequence[Target],
    precision: Precision,
    data: Path,
    normals: Normals,
    max_false_alarms: float,
    reject: float | None,
    threshold_range: tuple[float, float] | None,
    stage: Stage,
    keep: tuple[str, ...] | Tolerance = (),
) -> Iterator[Verified]:
    """Lower for a target, prove float parity first, quantize, calibrate the threshold, measure drift.

    keep: layers that stay in higher precision in an int8 form, or the tolerance that the cheapest set of them holds.
    targets: one, or several boards' whose results are the same to the bit. The engines stay open inside the context.
    Raises ParityError before anything is quantized when the export is not the fitted network, BudgetError for boards
    that it does not fit.
    """
    spec, target = detector.input, targets[0]

    def calibration() -> Iterator[Tensor]:
        return batches(normals.calibration, spec)

    with tempfile.TemporaryDirectory(prefix="edge-ad-") as folder:
        done = stage("export and float parity", min(N_PARITY, len(normals.calibration)))
        float_lowered = target.lower(captured, "fp32", None)
        float_engine = open_lowered(target, float_lowered, Path(folder) / "float")
        parity = check_parity(detector, float_engine, _ticking(_first(calibration(), N_PARITY), done))
        plan = price = None
        if precision == "fp32":
            lowered, engine = float_lowered, float_engine
        else:
            done = stage("quantize", len(normals.calibration) * (1 + len(captured.parts)))
            inputs = Calibration(lambda: _ticking(calibration(), done), len(normals.calibration))
            if isinstance(keep, Tolerance) and precision == "int8":
                plan = find_plan(detector, target, captured, inputs, normals, keep, float_engine, stage)
                names = tuple(plan.kept)
            else:
                names = keep if isinstance(keep, tuple) and precision == "int8" else ()
            lowered = target.lower(captured, precision, inputs, names)
            if plan is not None:
                lowered = replace(lowered, decisions=[*lowered.decisions, *plan.told()])
            if lowered.board is not None:
                boards = [board for board in targets if isinstance(board, ImageTarget)]
                board_payload.require_fit(captured, lowered, inputs, boards)
            engine = open_lowered(target, lowered, Path(folder) / "compiled")
        done = stage("calibrate the threshold", 2 * (len(normals.calibration) + len(normals.threshold)))
        float_ = at_work(
            detector, target, float_lowered, float_engine, Path(folder) / "float-scored", normals, done
        )
        compiled = at_work(detector, target, lowered, engine, Path(folder) / "scored", normals, done)
        engine, given = compiled.engine, taken(detector, compiled.lowered)
        threshold = calibrate_threshold(compiled.normal.scores, max_false_alarms)
        thresholds = Thresholds(
            float_=calibrate_threshold(float_.normal.scores, max_false_alarms),
            compiled=threshold,
            rejection=None if reject is None else rejection_band(compiled.normal.scores, threshold, reject),
            reference=reference_quantiles(compiled.normal.scores),
            allowed=allowed_thresholds(compiled.normal.scores, threshold, threshold_range),
        )
        float_ = replace(float_, head=detector.finish_head(float_.head, thresholds.float_))
        latency = None
        compiled = settled(detector, target, lowered, compiled, threshold, Path(folder) / "settled")
        if lowered.board is None:
            done = stage("compare latency", 1)
            latency = compare(float_engine, engine, next(calibration()))
            if lowered.kept:
                whole = open_lowered(
                    target, target.lower(captured, precision, inputs), Path(folder) / "whole"
                )
                price = compare(whole, engine, next(calibration()))
            done()
        yield Verified(
            target=target,
            float_=float_,
            compiled=compiled,
            parity=parity,
            thresholds=thresholds,
            drift=drift(float_.normal.scores, compiled.normal.scores, thresholds),
            test=_test(data, detector, float_, compiled, thresholds, stage),
            latency=latency,
            engine=engine.describe(),
            golden_inputs=_golden_inputs(given, list(_first(batches(normals.threshold, given), 2))),
            plan=plan,
            price=price,
        )


def at_work(
    detector: Detector, target: Target, lowered: Lowered, engine: Engine, folder: Path, normals: Normals,
    done: Callable[[], None],
) -> Form:  # fmt: skip
    """Head from the calibration split, scores of the threshold split, both with this form's own outputs.

    engine: of `lowered`. On boards the head is fitted on what the image's integers stand for, then becomes a part of
    the image, which is opened in the new folder `folder`.
    """
    spec, board = taken(detector, lowered), lowered.board
    outputs = run(engine, batches(normals.calibration, spec), done)
    if board is None:
        head = detector.fit_head(outputs, engine.parts)
    else:
        head = detector.fit_head((board.dequantized(made) for made in outputs), engine.parts)
        lowered, head = board_payload.finish(lowered, head)
        engine = open_lowered(target, lowered, folder)
    return Form(lowered, engine, head, score(engine, head, batches(normals.threshold, spec), done))


def settled(
    detector: Detector, target: Target, lowered: Lowered, compiled: Form, threshold: Threshold, folder: Path
) -> Form:
    """A form once its threshold is known: of a board another image where that changes the head. lowered: without it."""
    if lowered.board is None:
        return replace(compiled, head=detector.finish_head(compiled.head, threshold))
    fitted = HeadSpec.model_validate(compiled.head.params["fitted"])
    settled = detector.finish_head(fitted, threshold)
    if settled == fitted:
        return compiled
    finished, head = board_payload.finish(lowered, settled)
    return replace(compiled, lowered=finished, engine=open_lowered(target, finished, folder), head=head)


def _test(
    data: Path, detector: Detector, float_: Form, compiled: Form, thresholds: Thresholds, stage: Stage
) -> TestScores | None:
    """Figures on labelled inputs, for the report only; None without a test folder."""
    labelled = find_labelled(data, detector.input)
    if not labelled.items:
        return None
    done = stage(f"score the test {detector.input.noun}s", 2 * len(labelled.items))
    before, after = (
        score(form.engine, form.head, batches(labelled.inputs, taken(detector, form.lowered)), done)
        for form in (float_, compiled)
    )
    figures = measure(labelled, before, after, thresholds, int(float_.head.params.get("pad", 0)))
    return TestScores(labelled, before, after, figures)


def taken(detector: Detector, lowered: Lowered) -> InputSpec:
    """What a form takes: the detector's input, unless it holds some of the preprocessing itself."""
    board = lowered.board
    return detector.input if board is None or board.taken is None else board.taken


def _golden_inputs(spec: InputSpec, normals: list[Tensor]) -> list[Tensor]:
    """Normal inputs, and some that reach the ends of every range: for images black, white and noise, for numbers
    zeros and noise of ten times their size."""
    shape = spec.shape
    rng = np.random.default_rng(0)
    if spec.dtype == "uint8":
        noise = rng.integers(0, 256, shape, np.uint8)
        return [*normals, np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), noise]
    largest = max(float(np.abs(normal).max()) for normal in normals) or 1.0
    wide = rng.uniform(-10 * largest, 10 * largest, shape).astype(np.float32)
    return [*normals, np.zeros(shape, np.float32), wide]


def _first(items: Iterator[Tensor], n: int) -> Iterator[Tensor]:
    return (item for item, _ in zip(items, range(n), strict=False))


def _ticking(items: Iterator[Tensor], done: Callable[[], None]) -> Iterator[Tensor]:
    for item in items:
        yield item
        done()
