"""Measuring one form: what it costs on its target, and what it does to the scores."""

from __future__ import annotations

import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import Budget
from edge_ad.compile import verify
from edge_ad.compile.capture import Captured
from edge_ad.compile.integer.image import Image
from edge_ad.compile.latency import Latency, side_by_side
from edge_ad.compile.opening import open_lowered
from edge_ad.compile.sensitivity.agreement import Tolerance
from edge_ad.compile.sensitivity.plan import find_plan
from edge_ad.compile.sweep.boards import board_image, count_instructions
from edge_ad.compile.sweep.candidate import Candidate, candidate, captured_for
from edge_ad.compile.sweep.form import Failed, Form, Measured, Outcome, Ranking, ScoreDrift
from edge_ad.compile.sweep.locks import alone, busy, give_way
from edge_ad.compile.sweep.reference import Reference, Scored, calibration_of, reference, scored
from edge_ad.compile.sweep.setting import Setting
from edge_ad.compile.target import Calibration, ImageTarget, Target
from edge_ad.errors import EdgeAdError
from edge_ad.metrics.ranking import auroc, auroc_change, rank_correlation
from edge_ad.runtime.heads import INPUT, evaluate

RUNS = (15, 201)  # of a timing, at least and at most
_TELLING = 0.75  # AUROC of the reference, below which a drop of it tells little
_BUSY = 2.0  # load average for each processor; a sweep's own work of the last minute is part of it
TIMED_S = 1.0  # what a timing takes, between these bounds

_ONE = (
    threading.Lock()
)  # Dask's workers may have several threads; two forms in one process would disturb each other

FloatArray = npt.NDArray[np.float32]


def measure(key: str, form: Form, setting: Setting) -> Outcome:
    """Figures of one form; `Failed` for a form that cannot be had. Runs in any executor: all it takes and gives can be
    pickled, what it shares with other forms is kept in its process."""
    with _ONE:
        begun = time.perf_counter()
        try:
            found = _measure(key, form, setting)
        except EdgeAdError as error:
            return Failed(key=key, form=form, error=str(error), seconds=_since(begun))
    return found.model_copy(update={"seconds": _since(begun)})


def _measure(key: str, form: Form, setting: Setting) -> Measured:
    target = setting.resolve(form.target)
    with busy():
        held_to = reference(setting, form.target)
    made = candidate(form, setting)
    with tempfile.TemporaryDirectory(prefix="edge-ad-") as folder:
        with busy():
            found = _at_work(target, made, form, setting, Path(folder))
            notes: list[str] = []
            latency = instructions = None
            budget, over, image = _budget(target, made, found)
        if image is not None and isinstance(target, ImageTarget):
            if setting.count and not over:
                with busy():
                    instructions, note = count_instructions(target, image, found)
                notes.append(note)
        elif target.architectures and platform.machine() not in target.architectures:
            notes.append(
                f"Latency is not measured: {target.name} is no machine like this one ({platform.machine()})."
            )
        else:
            with alone():
                latency = _latency(held_to.scored, found)
            notes += _disturbed()
    ranking = _ranking(_altered(held_to.scored), _altered(found), paired=_same_inputs(held_to, made))
    return Measured(
        key=key,
        form=form,
        latency_us=None if latency is None else latency.compiled_us,
        reference_us=None if latency is None else latency.float_us,
        speedup=None if latency is None else latency.float_us / max(1, latency.compiled_us),
        instructions=instructions,
        flash_bytes=budget.flash_bytes,
        ram_bytes=budget.ram_bytes,
        macs=budget.macs,
        parameters=budget.parameters,
        over=over,
        altered=ranking,
        drift=_drift(held_to.scored, found) if _same_inputs(held_to, made) else None,
        labelled=_labelled(held_to.scored, found),
        pruning=made.pruning,
        kept=list(found.form.lowered.kept),
        notes=[*notes, *_weak(ranking)],
        seconds=0.0,
    )


def _at_work(target: Target, made: Candidate, form: Form, setting: Setting, folder: Path) -> Scored:
    """The form in its target's engine, and its scores."""
    captured = captured_for(target, made, setting.data, named=bool(form.keep))
    calibration = None if form.precision == "fp32" else calibration_of(made)
    kept = () if calibration is None else _kept(target, made, form, setting, captured, calibration, folder)
    lowered = target.lower(captured, form.precision, calibration, kept)
    engine = open_lowered(target, lowered, folder / "network")
    at_work = verify.at_work(
        made.detector, target, lowered, engine, folder / "scored", made.normals, give_way
    )
    return scored(setting, target, made, lowered, at_work, folder / "settled")


def _kept(
    target: Target, made: Candidate, form: Form, setting: Setting, captured: Captured, calibration: Calibration,
    folder: Path,
) -> tuple[str, ...]:  # fmt: skip
    """The layers that a form keeps in a higher precision; searched for where it says so, on the calibration split."""
    if form.keep != "auto":
        return form.keep
    float_engine = open_lowered(target, target.lower(captured, "fp32", None), folder / "float")
    plan = find_plan(
        made.detector, target, captured, calibration, made.normals, setting.tolerance or Tolerance(), float_engine,
        lambda what, total: give_way,
    )  # fmt: skip
    return tuple(plan.kept)


def _budget(target: Target, made: Candidate, found: Scored) -> tuple[Budget, list[str], Image | None]:
    """What it costs, the limits that it breaks, and for boards the image."""
    if not isinstance(target, ImageTarget):
        return target.budget(found.form.lowered), [], None
    image = board_image(target, found, made.detector.input)
    fit = target.fit(image, image.program.parameters)
    return fit.budget, list(fit.over), image


def _latency(before: Scored, after: Scored) -> Latency:
    """From a network's input to its score, side by side. Nobody else may work meanwhile."""
    reference_, form = _calls(before), _calls(after)
    first = side_by_side(reference_, form, RUNS[0])
    pair_s = 1e-6 * (first.float_us + first.compiled_us)
    return side_by_side(
        reference_, form, max(RUNS[0], min(RUNS[1], round(TIMED_S / max(pair_s, 1e-6)))), warmup=0
    )


def _weak(ranking: Ranking) -> list[str]:
    """A note where the reference hardly tells altered inputs from normal ones: nothing can then fall far."""
    value = ranking.reference.value
    if value >= _TELLING:
        return []
    return [
        f"The fitted network itself ranks altered above normal inputs with an AUROC of {value:.2f} only: a tolerance "
        "of its drop means little here; go by the rank correlation, and by labelled inputs."
    ]


def _disturbed() -> list[str]:
    """A note where other programs had more to do than this machine has processors; a sweep's own rest meanwhile."""
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    if load <= _BUSY * processors:
        return []
    return [
        f"Latencies were taken on a busy machine (load {load:.0f} on {processors} CPUs): measure again on an idle one."
    ]


def _calls(scored_: Scored) -> list[Callable[[], object]]:
    engine, head = scored_.form.engine, scored_.form.head

    def call(batch: npt.NDArray[np.generic]) -> Callable[[], object]:
        return lambda: evaluate(head, {INPUT: batch, **engine.infer(batch)}, engine.parts)

    return [call(batch) for batch in scored_.inputs]


def _same_inputs(held_to: Reference, made: Candidate) -> bool:
    """Whether both score the same held-back inputs, so that they can be compared one by one."""
    return bool(held_to.candidate.detector.splits == made.detector.splits)


def _altered(scored_: Scored) -> tuple[npt.NDArray[np.bool_], FloatArray]:
    """Labels and scores (n + m,) of normal inputs and altered copies."""
    labels = np.repeat([False, True], [scored_.normal.size, scored_.altered.size])
    return labels, np.concatenate([scored_.normal, scored_.altered])


def _ranking(
    before: tuple[npt.NDArray[np.bool_], FloatArray], after: tuple[npt.NDArray[np.bool_], FloatArray], *,
    paired: bool,
) -> Ranking:  # fmt: skip
    return Ranking(
        reference=auroc(*before),
        form=auroc(*after),
        change=auroc_change(before[0], before[1], after[1]) if paired else None,
    )


def _labelled(before: Scored, after: Scored) -> Ranking | None:
    """None where test inputs of either kind are missing."""
    if before.labelled is None or after.labelled is None:
        return None
    if any(one.labels.all() or not one.labels.any() for one in (before, after)):
        return None
    paired = np.array_equal(before.labels, after.labels)
    return _ranking((before.labels, before.labelled), (after.labels, after.labelled), paired=paired)


def _drift(before: Scored, after: Scored) -> ScoreDrift:
    """Raises QualityError where no correlation is defined."""
    unit = before.normal.std(ddof=1)
    correlation = rank_correlation(before.normal, after.normal)
    shift = (after.normal.astype(np.float64) - before.normal) / unit
    return ScoreDrift(
        n=before.normal.size,
        rank_correlation=correlation,
        mean_shift=float(shift.mean()),
        spread=float(shift.std(ddof=1)),
    )


def _since(begun: float) -> float:
    return round(time.perf_counter() - begun, 3)
