"""Models that a sweep measures: fitted ones as they are, pruned ones made once and kept beside the journal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import edge_ad
from edge_ad.bundle.atomic import atomic_folder
from edge_ad.compile.capture import Captured, capture, unexported
from edge_ad.compile.prune import normals_of, prune
from edge_ad.compile.prune.cost import lanes
from edge_ad.compile.sweep.form import Form, Pruning, folder_digest
from edge_ad.compile.sweep.locks import busy, give_way, lock
from edge_ad.compile.sweep.setting import Setting
from edge_ad.compile.target import ImageTarget, Target
from edge_ad.data.inputs import Normals, find_normals
from edge_ad.detectors import load_detector
from edge_ad.detectors.base import Detector
from edge_ad.detectors.model_folder import MODEL_FILE, model_digest
from edge_ad.detectors.widths import PRUNED
from edge_ad.errors import BundleError

MODELS = "models"  # below the sweep's folder
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


def candidate(form: Form, setting: Setting) -> Candidate:
    """The detector of a form. Not inside of `busy`.

    A pruned one is made once in the sweep's folder, whoever asks first, and read from there. Raises what `fitted` and
    `edge_ad.compile.prune.prune` raise.
    """
    model = Path(form.model)
    if not form.prune:
        with busy():
            return fitted(model, setting.data)
    multiple = lanes(setting.resolve(form.target))
    folder = pruned_folder(form, setting, multiple)
    with lock(folder.name):
        if not (folder / MODEL_FILE).exists():
            with busy():
                _prune(form, setting, multiple, folder)
    with busy():
        made = fitted(folder, setting.data)
    told = made.detector.info().fit[PRUNED]
    return replace(made, pruning=Pruning.model_validate({name: told[name] for name in Pruning.model_fields}))


def pruned_folder(form: Form, setting: Setting, multiple: int) -> Path:
    """Where a form's pruned model lies, or will. multiple: of its layers' widths. Raises ModelError."""
    settings = f"{form.prune!r} {multiple} {setting.seed} {setting.steps} {edge_ad.__version__}"
    basis = f"{folder_digest(Path(form.model))} {settings}"
    name = f"{form.name[:40]}-{100 * form.prune:g}-{hashlib.sha256(basis.encode()).hexdigest()[:12]}"
    return setting.work / MODELS / name


def _prune(form: Form, setting: Setting, multiple: int, folder: Path) -> None:
    """Write the pruned model, whole or not at all."""
    model = Path(form.model)
    detector = fitted(model, setting.data).detector
    made = prune(
        detector, form.prune, normals_of(detector, setting.data), seed=setting.seed, steps=setting.steps,
        multiple=multiple, digest=model_digest(model), stage=lambda what, total: give_way,
    )  # fmt: skip
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_folder(folder) as partial:
            made.detector.save(partial)
    except BundleError:
        if not (folder / MODEL_FILE).exists():  # unless another machine of the cluster was first
            raise


@lru_cache(maxsize=_HELD)
def captured(made: Path, data: Path, opset: int, exported: bool) -> Captured:
    """The network of the model folder `made`, for targets of this opset. Raises what `capture` raises."""
    detector = fitted(made, data).detector
    return capture(detector, opset) if exported else unexported(detector)


def captured_for(target: Target, made: Candidate, data: Path, *, named: bool = False) -> Captured:
    """The network as `target` takes it. named: its layers are called by their names."""
    return captured(made.folder, data, target.opset, named or not isinstance(target, ImageTarget))
