"""Models that a sweep measures, made ready: fitted ones as they are, pruned ones made once and kept beside the journal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from edge_ad.compile.capture import Captured, capture, unexported
from edge_ad.compile.sweep.form import Form, Pruning
from edge_ad.compile.sweep.locks import busy
from edge_ad.compile.target import ImageTarget, Target
from edge_ad.data.inputs import Normals, find_normals
from edge_ad.detectors import load_detector
from edge_ad.detectors.base import Detector
from edge_ad.errors import TargetError

_HELD = 4  # networks that a process keeps


@dataclass(frozen=True)
class Candidate:
    """A detector to be lowered. folder: its model folder. pruning: what was removed, None for one as it was fitted."""

    detector: Detector
    folder: Path
    normals: Normals
    pruning: Pruning | None


@lru_cache(maxsize=_HELD)
def fitted(folder: Path, data: Path) -> Candidate:
    """A model folder as it is. Raises ModelError, DataError."""
    detector = load_detector(folder)
    return Candidate(detector, folder, find_normals(detector.splits, data, detector.input), None)


def candidate(form: Form, data: Path) -> Candidate:
    """The detector of a form. Not inside of `busy`. Raises TargetError where it cannot be had."""
    if form.prune:
        raise TargetError(
            f"pruned by {form.prune:.0%} it cannot be had: this version does not prune", where=form.model
        )
    with busy():
        return fitted(Path(form.model), data)


@lru_cache(maxsize=_HELD)
def captured(made: Path, data: Path, opset: int, exported: bool) -> Captured:
    """The network of the model folder `made`, for targets of this opset. Raises what `capture` raises."""
    detector = fitted(made, data).detector
    return capture(detector, opset) if exported else unexported(detector)


def captured_for(target: Target, made: Candidate, data: Path) -> Captured:
    """The network as `target` takes it."""
    return captured(made.folder, data, target.opset, not isinstance(target, ImageTarget))
