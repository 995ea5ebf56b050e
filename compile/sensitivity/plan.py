"""A detector's precision plan for one target, measured on calibration inputs and altered copies of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_ad.bundle.manifest import HeadSpec, InputSpec
from edge_ad.compile import board_payload
from edge_ad.compile.capture import Captured
from edge_ad.compile.layers import layers_of
from edge_ad.compile.opening import open_lowered
from edge_ad.compile.scores import batches
from edge_ad.compile.sensitivity.agreement import Agreement, ScorePair, Tolerance, agreement
from edge_ad.compile.sensitivity.report import LayerPlan, PlanStep, PrecisionPlan
from edge_ad.compile.sensitivity.search import Found, Unit, cheapest, units_of
from edge_ad.compile.target import Calibration, ImageTarget, Lowered, Target
from edge_ad.data.inputs import Acquired, Inputs, Normals
from edge_ad.data.pseudo_anomalies import pseudo_anomalies
from edge_ad.detectors.base import Detector
from edge_ad.errors import QualityError
from edge_ad.runtime.engines.base import Engine, Tensor
from edge_ad.runtime.heads import INPUT, evaluate

MOST_UNITS = 64  # measured by themselves; beyond, layers of one module go together
FEWEST, MOST = 8, 32  # normal inputs that the search scores, as far as the calibration split has them
WANTED_ALTERED = 16  # altered copies at least, up to four of an input
_WORK = 8e12  # multiply-accumulates that measuring each unit once may take: some two minutes on two cores
_SEED = 0
_EXTRA = 8  # forms beside those of each unit alone, as told beforehand

Stage = Callable[[str, int], Callable[[], None]]  # (what, how many) -> called once for each one done


@dataclass(frozen=True)
class Batches:
    """Preprocessed normal inputs and altered copies, each a batch of one."""

    normal: list[Tensor]
    altered: list[Tensor]


@dataclass(frozen=True)
class SearchInputs:
    """The inputs that are scored, as they were acquired."""

    normal: Inputs
    altered: Inputs
    known: dict[str, Batches] = field(default_factory=dict)

    def taken(self, spec: InputSpec) -> Batches:
        """As a form takes them, preprocessed once."""
        key = spec.model_dump_json()
        if key not in self.known:
            self.known[key] = Batches(*(list(batches(found, spec)) for found in (self.normal, self.altered)))
        return self.known[key]


def find_plan(
    detector: Detector, target: Target, captured: Captured, calibration: Calibration, normals: Normals,
    tolerance: Tolerance, float_engine: Engine, stage: Stage,
) -> PrecisionPlan:  # fmt: skip
    """Search the cheapest set of layers that has to stay in higher precision on `target`.

    float_engine: the float network at work on it. Only the calibration
    split is read: no label, and nothing of the threshold split. Raises TargetError for a detector of which a board
    keeps no layer, QualityError when no set of layers holds the tolerance.
    """
    layers = layers_of(captured)
    if isinstance(target, ImageTarget):
        layers = board_payload.keepable_layers(captured, target.name)
    units = units_of([(layer.name, layer.macs) for layer in layers], MOST_UNITS)
    members = {unit.name: unit.layers for unit in units}
    total = sum(layer.macs for layer in layers_of(captured))
    inputs = _inputs(detector.input, normals.calibration, total * max(1, len(units)))
    before = _scores(detector, float_engine, inputs.taken(detector.input))
    done = stage("search the layers to keep", len(units) + _EXTRA)

    def measure(kept: frozenset[str]) -> Agreement:
        names = tuple(name for unit in units if unit.name in kept for name in members[unit.name])
        with tempfile.TemporaryDirectory(prefix="edge-ad-") as folder:
            if isinstance(target, ImageTarget):
                lowered = board_payload.lower(captured, calibration, target.name, names, stripes=False)
                scores = _board_scores(detector, target, lowered, Path(folder), inputs)
            else:
                lowered = target.lower(captured, "int8", calibration, names)
                engine = open_lowered(target, lowered, Path(folder) / "form")
                scores = _scores(detector, engine, inputs.taken(detector.input))
            found = agreement(before, scores)
        done()
        return found

    found = cheapest(units, measure, tolerance)
    if found.kept is None:
        float_too = ", or compile with --precision fp32" if "fp32" in target.precisions else ""
        raise QualityError(
            f"no set of layers in higher precision holds {tolerance}: with all of them it is "
            f"{found.steps[-1].agreement.drift:.3g} and {found.steps[-1].agreement.auroc_drop:.3g}",
            where=target.name, hint="allow more (--max-score-drift)" + float_too,
        )  # fmt: skip
    return _plan(found, units, total, tolerance, inputs.taken(detector.input))


def _inputs(spec: InputSpec, calibration: Inputs, work: int) -> SearchInputs:
    """As many calibration inputs, evenly spaced, as the work on each allows, and altered copies of them."""
    afforded = int(_WORK / max(1, 2 * work))
    normal = evenly(calibration, min(MOST, max(FEWEST, afforded)))
    copies = min(4, max(1, -(-WANTED_ALTERED // len(normal))))
    altered = pseudo_anomalies(normal, spec, seed=_SEED, copies=copies)
    return SearchInputs(normal, altered)


def evenly(inputs: Inputs, n: int) -> Inputs:
    """At most `n` of them, from all over."""
    if len(inputs) <= n:
        return inputs
    chosen = np.linspace(0, len(inputs) - 1, n).round().astype(int).tolist()
    wanted = set(chosen)

    def read() -> Iterator[Acquired]:
        return (acquired for index, acquired in enumerate(inputs) if index in wanted)

    return Inputs(n, read, None if inputs.files is None else [inputs.files[i] for i in chosen])


def _scores(detector: Detector, engine: Engine, inputs: Batches) -> ScorePair:
    """By a head of the form's own, as it would be shipped."""
    normal = [engine.infer(batch) for batch in inputs.normal]
    return _pair(engine, detector.fit_head(normal, engine.parts), inputs, normal)


def _board_scores(
    detector: Detector, target: Target, lowered: Lowered, folder: Path, inputs: SearchInputs
) -> ScorePair:
    """Likewise of a board's form, whose head becomes a part of the image."""
    board = lowered.board
    assert board is not None
    taken = inputs.taken(board.taken or detector.input)
    engine = open_lowered(target, lowered, folder / "form")
    head = detector.fit_head((board.dequantized(engine.infer(batch)) for batch in taken.normal), engine.parts)
    finished, head = board_payload.finish(lowered, head, stripes=False)
    engine = open_lowered(target, finished, folder / "finished")
    return _pair(engine, head, taken, [engine.infer(batch) for batch in taken.normal])


def _pair(engine: Engine, head: HeadSpec, inputs: Batches, normal: list[dict[str, Tensor]]) -> ScorePair:
    """normal: what the engine makes of the normal inputs."""
    altered = [engine.infer(batch) for batch in inputs.altered]
    scored = [
        np.concatenate([evaluate(head, {INPUT: batch, **made}, engine.parts).scores for batch, made in pairs])
        for pairs in (
            zip(inputs.normal, normal, strict=True),
            zip(inputs.altered, altered, strict=True),
        )
    ]
    return ScorePair(*scored)


def _plan(
    found: Found, units: list[Unit], total: int, tolerance: Tolerance, inputs: Batches
) -> PrecisionPlan:
    assert found.kept is not None
    kept, chosen = set(found.kept), found.step(found.kept)
    return PrecisionPlan(
        max_score_drift=tolerance.score_drift,
        max_auroc_drop=tolerance.auroc_drop,
        normal=len(inputs.normal),
        altered=len(inputs.altered),
        before=found.step(()).agreement,
        after=chosen.agreement,
        kept=[name for unit in units if unit.name in kept for name in unit.layers],
        kept_share=chosen.macs / max(1, total),
        layers=[
            LayerPlan(
                name=unit.name, layers=len(unit.layers), macs=unit.macs, share=unit.macs / max(1, total),
                alone=found.alone[unit.name], kept=unit.name in kept,
            )
            for unit in sorted(units, key=lambda unit: -found.alone[unit.name].drift)
        ] if found.alone else [],
        steps=[
            PlanStep(kept=list(step.kept), share=step.macs / max(1, total), agreement=step.agreement, holds=step.holds)
            for step in found.steps
        ],
    )  # fmt: skip
