"""Compiling for one target and measuring what that changed, with the device's own engine and options."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_ad.bundle.manifest import Drift, HeadSpec, Thresholds
from edge_ad.compile.capture import Captured, Parity, check_parity
from edge_ad.compile.latency import Latency, compare
from edge_ad.compile.scores import Scores, batches, run, score
from edge_ad.compile.target import Calibration, Lowered, Precision, Target
from edge_ad.data.labelled import LabelledImage, list_labelled, read_mask
from edge_ad.data.splits import SplitPaths
from edge_ad.detectors.base import Detector
from edge_ad.metrics.aupro import AuPro, MapAndMask, au_pro
from edge_ad.metrics.drift import drift
from edge_ad.metrics.evaluation import TestFigures, evaluate_test
from edge_ad.metrics.threshold import calibrate_threshold
from edge_ad.runtime.engines import open_model
from edge_ad.runtime.engines.base import Engine, EngineInfo, Tensor
from edge_ad.runtime.images import read_image
from edge_ad.runtime.localise import upsample

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
    """Scores of the labelled test images, float and compiled."""

    __test__ = False

    images: list[LabelledImage]
    float_: Scores
    compiled: Scores
    figures: TestFigures


@dataclass(frozen=True)
class Verified:
    """Everything that is known of one compiled payload."""

    target: Target
    float_: Form
    compiled: Form
    parity: Parity
    thresholds: Thresholds
    drift: Drift
    test: TestScores | None
    latency: Latency
    engine: EngineInfo
    golden_inputs: list[Tensor]


@contextmanager
def verified(
    detector: Detector,
    captured: Captured,
    target: Target,
    precision: Precision,
    data: Path,
    splits: SplitPaths,
    max_false_alarms: float,
    stage: Stage,
) -> Iterator[Verified]:
    """Lower for `target`, prove float parity first, quantize, calibrate the threshold, measure drift.

    The engines stay open inside the context. Raises ParityError before anything is quantized when the export
    is not the fitted network.
    """
    spec = detector.input

    def normals() -> Iterator[Tensor]:
        return batches(splits.calibration, spec)

    with tempfile.TemporaryDirectory(prefix="edge-ad-") as folder:
        done = stage("export and float parity", N_PARITY)
        float_lowered = target.lower(captured, "fp32", None)
        float_engine = _open(target, float_lowered, Path(folder) / "float")
        parity = check_parity(detector, float_engine, _ticking(_first(normals(), N_PARITY), done))
        if precision == "fp32":
            lowered, engine = float_lowered, float_engine
        else:
            done = stage("quantize", len(splits.calibration))
            calibration = Calibration(lambda: _ticking(normals(), done), len(splits.calibration))
            lowered = target.lower(captured, precision, calibration)
            engine = _open(target, lowered, Path(folder) / "compiled")
        done = stage("calibrate the threshold", 2 * (len(splits.calibration) + len(splits.threshold)))
        float_ = _form(detector, float_lowered, float_engine, splits, done)
        compiled = _form(detector, lowered, engine, splits, done)
        thresholds = Thresholds(
            float_=calibrate_threshold(float_.normal.scores, max_false_alarms),
            compiled=calibrate_threshold(compiled.normal.scores, max_false_alarms),
        )
        inputs = list(_first(normals(), 1))
        done = stage("compare latency", 1)
        latency = compare(float_engine, engine, inputs[0])
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
            golden_inputs=_golden_inputs(detector, list(_first(batches(splits.threshold, spec), 2))),
        )


def _open(target: Target, lowered: Lowered, folder: Path) -> Engine:
    folder.mkdir()
    for name, content in lowered.files.items():
        (folder / name).write_bytes(content)
    return open_model(target.engine, folder / lowered.model, target.options)


def _form(
    detector: Detector, lowered: Lowered, engine: Engine, splits: SplitPaths, done: Callable[[], None]
) -> Form:
    """Head from the calibration split, scores of the threshold split, both with this form's own outputs."""
    head = detector.fit_head(run(engine, batches(splits.calibration, detector.input), done))
    normal = score(head, run(engine, batches(splits.threshold, detector.input), done))
    return Form(lowered, engine, head, normal)


def _test(
    data: Path, detector: Detector, float_: Form, compiled: Form, thresholds: Thresholds, stage: Stage
) -> TestScores | None:
    """Figures on labelled images, for the report only; None without a test folder."""
    images = list_labelled(data)
    if not images:
        return None
    done = stage("score the test images", 2 * len(images))
    paths = [image.path for image in images]
    before = score(float_.head, run(float_.engine, batches(paths, detector.input), done))
    after = score(compiled.head, run(compiled.engine, batches(paths, detector.input), done))
    figures = evaluate_test(
        labels=[image.anomalous for image in images],
        float_scores=before.scores,
        compiled_scores=after.scores,
        thresholds=thresholds,
        aupro_float=_aupro(images, before, float_.head),
        aupro_compiled=_aupro(images, after, compiled.head),
    )
    return TestScores(images, before, after, figures)


def _aupro(images: list[LabelledImage], scores: Scores, head: HeadSpec) -> AuPro | None:
    """AU-PRO over good images and those that have a mask; None where no defect has one."""
    if scores.maps is None or not any(image.mask is not None for image in images):
        return None
    maps = scores.maps

    def samples() -> Iterator[MapAndMask]:
        for image, grid in zip(images, maps, strict=True):
            if image.anomalous and image.mask is None:
                continue
            shape = read_image(image.path).shape[:2]
            mask = read_mask(image, (shape[0], shape[1]))
            assert mask is not None
            yield upsample(grid, head.params["pad"], (shape[0], shape[1])), mask

    return au_pro(samples)


def _golden_inputs(detector: Detector, normals: list[Tensor]) -> list[Tensor]:
    """Normal images, and inputs that reach the ends of every range: black, white, noise."""
    shape = detector.input.shape
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return [*normals, np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), noise]


def _first(items: Iterator[Tensor], n: int) -> Iterator[Tensor]:
    return (item for item, _ in zip(items, range(n), strict=False))


def _ticking(items: Iterator[Tensor], done: Callable[[], None]) -> Iterator[Tensor]:
    for item in items:
        yield item
        done()
