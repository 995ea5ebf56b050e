"""A report as a compile would give it: generated parts, and scores that INT8 has shifted."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from edge_ad.bundle.manifest import Budget, Thresholds
from edge_ad.compile.report.examples import Example, pick_examples
from edge_ad.compile.report.figures import FigureData
from edge_ad.compile.report.model import (
    BundleInfo,
    DataReport,
    Decision,
    DetectorReport,
    ExportParity,
    Measurement,
    PayloadFile,
    PayloadReport,
    Report,
    TeacherInfo,
)
from edge_ad.data.part_defects import DEFECTS
from edge_ad.data.samples import render_part
from edge_ad.metrics.aupro import au_pro
from edge_ad.metrics.drift import drift
from edge_ad.metrics.evaluation import evaluate_test
from edge_ad.metrics.threshold import calibrate_threshold

TARGET = "openvino-cpu"


@dataclass(frozen=True)
class Case:
    report: Report
    figures: FigureData
    timing: Measurement


def build_case() -> Case:
    rng = np.random.default_rng(0)
    labels = np.r_[np.zeros(40), np.ones(36)].astype(bool)
    kinds = ["good"] * 40 + sorted(DEFECTS) * 6
    normal = rng.gamma(9, 0.02, 60).astype(np.float32)
    test = (rng.gamma(9, 0.02, 76) + labels * rng.gamma(2, 0.11, 76)).astype(np.float32)
    normal_int8 = (normal * 1.1 + 0.03 + rng.normal(0, 0.004, 60)).astype(np.float32)
    test_int8 = (test * 1.1 + 0.03 + rng.normal(0, 0.004, 76)).astype(np.float32)
    thresholds = Thresholds(
        float=calibrate_threshold(normal, 0.05), compiled=calibrate_threshold(normal_int8, 0.05)
    )
    mask = np.eye(16)
    area = au_pro(lambda: [(mask + rng.random((16, 16)), mask)])
    figures = evaluate_test(
        labels=labels,
        float_scores=test,
        compiled_scores=test_int8,
        thresholds=thresholds,
        more={"aupro_float": area, "aupro_compiled": area},
    )
    payload = PayloadReport(
        target=TARGET,
        engine="openvino",
        engine_version="2026.4.0",
        provider="CPU",
        precision="int8",
        isa="avx512-vnni",
        threads=1,
        files=[PayloadFile(name="openvino-cpu/model.bin", size_bytes=1234567, sha256="ab" * 32)],
        thresholds=thresholds,
        drift=drift(normal, normal_int8, thresholds),
        test=figures,
        parity=ExportParity(n=4, worst=3.1e-7, allowed=1e-4),
        budget=Budget(flash_bytes=1234567, ram_bytes=9876543, macs=440_000_000, parameters=339_000),
        decisions=[
            Decision(
                stage="simplify", text="Folded normalisation, statistics of the teacher, and the difference."
            ),
            Decision(
                stage="quantize", text="Squares, maps and score stay in float: an 8-bit score is a defect."
            ),
        ],
        warnings=["The teacher was never trained."],
    )
    report = Report(
        bundle=BundleInfo(name="flange-line-3"),
        detector=DetectorReport(
            name="efficientad",
            preset="tiny",
            version=1,
            input_shape=(1, 3, 128, 128),
            teacher=TeacherInfo(name="generated", source="shipped with the package", sha256="cd" * 32),
        ),
        data=DataReport(
            fit=150,
            calibration=20,
            threshold=60,
            test_good=40,
            test_anomalous=36,
            test_kinds=dict.fromkeys(sorted(DEFECTS), 6),
        ),
        payloads=[payload],
        tools={"edge-ad": "0.1.0", "nncf": "3.4.0", "openvino": "2026.4.0"},
    )
    examples = [
        _example(index, kinds[index], bool(labels[index]), test, test_int8, thresholds.compiled.value)
        for index in pick_examples(kinds, labels.tolist(), test_int8)
    ]
    data = FigureData(
        target=TARGET,
        normal_float=normal,
        normal_compiled=normal_int8,
        test_labels=labels,
        test_float=test,
        test_compiled=test_int8,
        examples=examples,
    )
    timing = Measurement(
        target=TARGET, float_us=9400, compiled_us=2600, ratio=3.61, runs=15, threads=1, isa="avx512-vnni"
    )
    return Case(report, data, timing)


def _example(
    index: int, kind: str, anomalous: bool, before: np.ndarray, after: np.ndarray, threshold: float
) -> Example:
    """A part whose map peaks, at its score, on the defect."""
    image, mask = render_part(index, 192, kind if anomalous else None)
    where = cv2.resize(mask.astype(np.float32) / 255, (24, 24), interpolation=cv2.INTER_AREA)
    grid = np.random.default_rng(index).random((24, 24), np.float32) * 0.6 + 4 * where * anomalous
    grid = cv2.GaussianBlur(grid, (0, 0), 1.0)
    return Example(
        name=f"{index:03d}.png",
        kind=kind,
        anomalous=anomalous,
        image=image,
        map=grid * (after[index] / grid.max()),
        pad=2,
        float_score=float(before[index]),
        compiled_score=float(after[index]),
        threshold=threshold,
        mask=mask,
    )


@pytest.fixture(scope="session")
def case() -> Case:
    return build_case()
