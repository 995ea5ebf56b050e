"""From what was measured of one payload to its part of the report."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_ad.bundle.manifest import Payload
from edge_ad.compile.report.examples import Example, pick_examples
from edge_ad.compile.report.figures import FigureData
from edge_ad.compile.report.model import Decision, ExportParity, Measurement, PayloadFile, PayloadReport
from edge_ad.compile.verify import TestScores, Verified
from edge_ad.data.inputs import LabelledInput
from edge_ad.data.labelled import read_mask
from edge_ad.detectors.base import Detector
from edge_ad.detectors.widths import PRUNED, is_pruned, pruned_sentence
from edge_ad.runtime.images import read_image


@dataclass(frozen=True)
class Assembled:
    """One payload, as the manifest, the report and its figures tell of it; timings are apart."""

    payload: Payload
    report: PayloadReport
    figures: FigureData
    measurement: Measurement | None
    test_items: list[LabelledInput]


def assemble(
    detector: Detector, form: Verified, payload: Payload, files: dict[str, bytes],
    notes: Sequence[tuple[str, str]] = (),
) -> Assembled:  # fmt: skip
    """Collect what the report says of one payload. files: contents by name in the bundle. notes: further decisions,
    which come first."""
    timing, info, test = form.latency, form.engine, form.test
    report = PayloadReport(
        target=payload.target,
        engine=payload.engine,
        engine_version=info.version,
        provider=info.provider,
        precision=payload.precision,
        isa=info.isa,
        threads=info.threads,
        files=[
            PayloadFile(name=n, size_bytes=len(c), sha256=hashlib.sha256(c).hexdigest())
            for n, c in sorted(files.items())
        ],
        thresholds=form.thresholds,
        drift=form.drift,
        test=None if test is None else test.figures,
        parity=ExportParity(n=form.parity.n, worst=form.parity.worst, allowed=form.parity.allowed),
        budget=payload.budget,
        stand_in=bool(payload.architectures) and platform.machine() not in payload.architectures,
        precision_plan=form.plan,
        decisions=[
            *(Decision(stage=stage, text=text) for stage, text in notes),
            *_decisions(detector, form, payload),
        ],
        warnings=_warnings(form),
    )
    figures = FigureData(
        target=payload.target,
        normal_float=form.float_.normal.scores,
        normal_compiled=form.compiled.normal.scores,
        test_labels=None if test is None else np.array([i.anomalous for i in test.labelled.items]),
        test_float=None if test is None else test.float_.scores,
        test_compiled=None if test is None else test.compiled.scores,
        examples=[] if test is None or detector.input.modality != "image" else _examples(form, test),
    )
    measurement = (
        None
        if timing is None
        else Measurement(
            target=payload.target,
            float_us=timing.float_us,
            compiled_us=timing.compiled_us,
            ratio=timing.ratio,
            runs=timing.runs,
            threads=info.threads,
            isa=info.isa,
            int8_us=None if form.price is None else form.price.float_us,
            price=None if form.price is None else 1 / form.price.ratio,
        )
    )
    return Assembled(payload, report, figures, measurement, [] if test is None else test.labelled.items)


def _pruned(detector: Detector) -> list[str]:
    fit = detector.info().fit
    return [pruned_sentence(fit[PRUNED])] if is_pruned(fit) else []


def _decisions(detector: Detector, form: Verified, payload: Payload) -> list[Decision]:
    threshold = form.thresholds.compiled
    allowed = threshold.n + 1 - threshold.rank
    noun = detector.input.noun
    own = [Decision(stage=stage, text=text) for stage, text in detector.decisions()]
    return [
        *(Decision(stage="prune", text=text) for text in _pruned(detector)),
        *(decision for decision in own if decision.stage == "simplify"),
        Decision(
            stage="export",
            text=f"The exported float network agrees with the fitted one within {form.parity.worst:.1g} of its "
            f"largest output on {form.parity.n} {noun}s (allowed {form.parity.allowed:g}).",
        ),
        *(Decision(stage="quantize", text=text) for text in payload.decisions),
        *(decision for decision in own if decision.stage != "simplify"),
        Decision(
            stage="threshold",
            text=f"The threshold is the {threshold.rank}. smallest of {threshold.n} held-back normal scores of the "
            f"compiled network: of {threshold.n + 1} normal {noun}s, {allowed} may lie above it on average.",
        ),
    ]


def _warnings(form: Verified) -> list[str]:
    warnings = []
    if form.compiled.lowered.precision == "int8" and "no VNNI" in form.engine.isa:
        warnings.append("The CPU that compiled this has no VNNI: INT8 gains little there.")
    if form.drift.rank_correlation < 0.9:
        warnings.append(
            f"Compiling reordered the scores of normal inputs (rank correlation {form.drift.rank_correlation:.2f}); "
            "look at the drift table before trusting single verdicts."
        )
    return warnings


def _examples(form: Verified, test: TestScores) -> list[Example]:
    """Images chosen by rule, with the compiled network's maps."""
    head, maps = form.compiled.head, test.compiled.maps
    if maps is None:
        return []
    items = test.labelled.items
    chosen = pick_examples(
        [item.kind for item in items], [item.anomalous for item in items], test.compiled.scores
    )
    examples = []
    for index in chosen:
        item = items[index]
        image = read_image(item.path)
        examples.append(
            Example(
                name=item.path.name,
                kind=item.kind,
                anomalous=item.anomalous,
                image=image,
                map=maps[index],
                pad=head.params["pad"],
                float_score=float(test.float_.scores[index]),
                compiled_score=float(test.compiled.scores[index]),
                threshold=form.thresholds.compiled.value,
                mask=read_mask(item, (image.shape[0], image.shape[1])),
            )
        )
    return examples
