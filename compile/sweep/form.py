"""Forms that a detector may take on a target, and what was measured of them: plain values that JSON holds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edge_ad.bundle.manifest import Finite, Rate, Spec
from edge_ad.errors import DataError, ModelError
from edge_ad.metrics.ranking import Auroc, AurocChange

# As `edge_ad.compile.target` has it, which imports torch: what only reads figures should begin at once.
Precision = Literal["fp32", "fp16", "int8"]
Keep = tuple[str, ...] | Literal["auto"]


class Form(Spec):
    """One form of a detector on a target."""

    model: str = Field(description="the model's folder, as it was named")
    target: str
    precision: Precision
    prune: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="share of the multiply-accumulates that were removed"
    )
    keep: Keep = Field(default=(), description="layers kept in a higher precision, or auto")

    @property
    def name(self) -> str:
        """The model's, without its place."""
        return Path(self.model).name

    def __str__(self) -> str:
        """`MODEL int8, pruned 50 %, on openvino-cpu`."""
        pruned = f", pruned {100 * self.prune:g} %" if self.prune else ""
        kept = "" if not self.keep else f", keeping {self.keep if self.keep == 'auto' else len(self.keep)}"
        return f"{self.name} {self.precision}{pruned}{kept} on {self.target}"


class ScoreDrift(Spec):
    """Scores of held-back normal inputs against the reference's; shifts in its scores' standard deviation."""

    n: int = Field(description="held-back normal inputs")
    rank_correlation: Finite = Field(description="Spearman's, with the reference's scores")
    mean_shift: Finite = Field(
        description="mean difference, in standard deviations of the reference's scores"
    )
    spread: Finite = Field(description="standard deviation of that difference, in the same unit")


class Ranking(Spec):
    """How well the reference and a form rank anomalous above normal inputs. change: form minus reference; its interval
    is None where both were not measured on the same inputs."""

    reference: Auroc
    form: Auroc
    change: AurocChange | None = Field(description="on the same inputs, with its 95 % interval")

    @property
    def drop(self) -> float:
        """What the form loses, AUROC of the reference less its own; negative where it gains."""
        return self.reference.value - self.form.value


class Pruning(Spec):
    """What pruning did to a model's network, before and after."""

    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int
    loss: Finite = Field(description="relative error against the unpruned network after the recovery")


class Measured(Spec):
    """One form and its figures. latency_us, reference_us: medians from a network's input to its score, side by side
    on the machine that compiled; None for boards and for devices of another kind. speedup: the reference's time over
    the form's, or on boards the baseline's instructions over the form's."""

    key: str
    form: Form
    latency_us: int | None = None
    reference_us: int | None = None
    instructions: int | None = None
    speedup: Finite | None = None
    flash_bytes: int
    ram_bytes: int
    macs: int
    parameters: int
    over: list[str] = Field(default=[], description="limits of the target that the form breaks")
    altered: Ranking = Field(description="on held-back normal inputs and altered copies of them")
    drift: ScoreDrift | None = Field(description="None where the form takes other inputs than the reference")
    labelled: Ranking | None = Field(
        default=None, description="on labelled test inputs: reported, never searched on"
    )
    pruning: Pruning | None = None
    kept: list[str] = Field(
        default=[], description="layers in a higher precision, as they were named or found"
    )
    notes: list[str] = Field(default=[], description="what was not measured, and why")
    seconds: Finite

    @property
    def gain(self) -> str | None:
        """The speedup in words; instructions are not a time."""
        of = "as fast" if self.instructions is None else "fewer instructions"
        return None if self.speedup is None else f"{self.speedup:.2f} times {of}"

    @property
    def loss(self) -> tuple[float, float]:
        """By what a form is judged: the drop of AUROC on altered inputs, gains counting as none, then how far its
        ranks are from the reference's."""
        correlation = -1.0 if self.drift is None else self.drift.rank_correlation
        return max(0.0, round(self.altered.drop, 6)), round(1 - correlation, 6)


class Failed(Spec):
    """A form that could not be measured, and why."""

    key: str
    form: Form
    error: str
    seconds: Finite


Outcome = Measured | Failed


class Asked(Spec):
    """What is asked of a form. flash_bytes, ram_bytes: at most. max_drop: of AUROC on altered inputs, at most."""

    speedup: Annotated[float, Field(gt=0)] | None = None
    flash_bytes: Annotated[int, Field(gt=0)] | None = None
    ram_bytes: Annotated[int, Field(gt=0)] | None = None
    max_drop: Rate | None = None

    @property
    def has_budget(self) -> bool:
        """Whether any cost is limited."""
        return any(limit is not None for limit in (self.speedup, self.flash_bytes, self.ram_bytes))

    def __bool__(self) -> bool:
        return self.has_budget or self.max_drop is not None


def key_of(form: Form, model_digest: str, basis: str) -> str:
    """Digest of all that a form's figures depend on. model_digest: of its model; basis: of the rest (`basis_of`)."""
    content = form.model_dump(mode="json") | {"model": model_digest, "basis": basis}
    return _sha256(content)


def basis_of(reference_digest: str, data: Path, **settings: object) -> str:
    """Digest of what all forms of a sweep share: reference, data, settings and the versions of the tools."""
    from edge_ad.compile.pipeline import tool_versions

    return _sha256(
        {"reference": reference_digest, "data": _data_digest(data), "tools": tool_versions(), **settings}
    )


def folder_digest(folder: Path) -> str:
    """Digest of a model folder's files. Raises ModelError when they cannot be read."""
    from edge_ad.detectors.model_folder import UNFINISHED

    try:
        paths = sorted(p for p in folder.rglob("*") if p.is_file() and UNFINISHED not in p.parts)
        files = {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror})", where=folder) from error
    if not files:
        raise ModelError("is no model folder", where=folder, hint="make one with: edge-ad fit")
    return _sha256(files)


def _data_digest(root: Path) -> str:
    """Of the names and sizes of the data's files: models state the digests of those that were set aside."""
    try:
        if root.is_file():
            return _sha256({root.name: root.stat().st_size})
        return _sha256(
            {str(p.relative_to(root)): p.stat().st_size for p in sorted(root.rglob("*")) if p.is_file()}
        )
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=root) from error


def _sha256(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
