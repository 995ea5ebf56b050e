"""The compile, whole: a model folder in, one bundle out, with its report."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

import edge_ad
from edge_ad.bundle.archive import write_bundle
from edge_ad.bundle.atomic import write_atomic
from edge_ad.bundle.manifest import FileEntry, Manifest
from edge_ad.compile.assemble import Assembled, assemble
from edge_ad.compile.board_payload import require_keep
from edge_ad.compile.capture import Captured, capture, unexported
from edge_ad.compile.integer.detectors import board_detector
from edge_ad.compile.integer.image import Image
from edge_ad.compile.layers import chosen as chosen_layers
from edge_ad.compile.layers import layers_of
from edge_ad.compile.payloads import payloads_of
from edge_ad.compile.report.html import draw, render
from edge_ad.compile.report.model import (
    BundleInfo,
    DataReport,
    DetectorReport,
    Report,
    TeacherInfo,
    report_json,
)
from edge_ad.compile.sensitivity.agreement import Tolerance
from edge_ad.compile.target import ImageTarget, Precision, Target
from edge_ad.compile.verify import Stage, verified
from edge_ad.data.inputs import Normals, find_normals
from edge_ad.detectors import load_detector
from edge_ad.detectors.base import Detector
from edge_ad.errors import TargetError, UsageError
from edge_ad.metrics.rejection import rejection_band
from edge_ad.metrics.threshold import calibrate_threshold

REPORT_HTML = "report/report.html"
REPORT_JSON = "report/report.json"
_TOOLS = ("edge-ad", "torch", "onnx", "onnxscript", "openvino", "nncf", "numpy", "onnxruntime")
_OPTIONAL_TOOLS = ("ai-edge-litert", "ai-edge-quantizer", "litert-torch")


@dataclass(frozen=True)
class Compiled:
    """What a compile made: the bundle, its digest, the report, and the HTML file beside the bundle. images: of boards,
    by target."""

    bundle: Path
    digest: str
    report: Report
    html: Path
    manifest: Manifest
    images: dict[str, Image] = field(default_factory=dict)


def compile_bundle(
    model: Path,
    targets: Sequence[Target],
    data: Path,
    out: Path,
    *,
    max_false_alarms: float,
    precision: Precision | None = None,
    reject: float | None = None,
    threshold_range: tuple[float, float] | None = None,
    notes: Sequence[tuple[str, str]] = (),
    keep: tuple[str, ...] | Tolerance = (),
    stage: Stage,
) -> Compiled:
    """Compile the model folder `model` for `targets` into the bundle `out`, and write its HTML report beside it.

    data: the folder that the model was fitted on (train/good; test/ is read for the report only).
    max_false_alarms: share of normal inputs that may raise an alarm. Raises QualityError, before anything costly,
    when the held-back inputs cannot support that rate; ParityError when the export is not the fitted network.
    reject: the stability below which a verdict is `uncertain` (`edge_ad.metrics.rejection`), None for no such verdict.
    threshold_range: thresholds, from and to, that a command may set on the device; by default around the compiled one.
    keep: layers that stay in higher precision in int8 forms, or the tolerance that the cheapest set of them shall hold.
    notes: further decisions for the report, (stage, sentence), such as why it is this form.
    """
    detector, normals = require_possible(model, targets, data, out, max_false_alarms, precision, reject, keep)
    done = stage("capture", 1)
    captures = _captures(detector, targets, keep != ())
    done()
    for target in targets:
        if isinstance(keep, tuple):
            chosen_layers(layers_of(captures[target.opset]), keep, target.name)  # refuses names that are none
    members: dict[str, bytes] = {}
    images: dict[str, Image] = {}
    made: dict[str, Assembled] = {}
    for group, chosen in _groups(forms(targets, precision)):
        with verified(
            detector,
            captures[group[0].opset],
            group,
            chosen,
            data,
            normals,
            max_false_alarms,
            reject,
            threshold_range,
            stage,
            keep,
        ) as form:
            for target, payload, files, image in payloads_of(detector, form, group):
                members |= files
                if image is not None:
                    images[target.name] = image
                own = replace(form, target=target)
                made[target.name] = assemble(detector, own, payload, files, notes)
    parts = [made[target.name] for target, _ in forms(targets, precision)]
    report = _report(out.stem, detector, normals, parts)
    done = stage("report and bundle", 2)
    drawn = draw(report, [part.figures for part in parts])
    members[REPORT_JSON] = report_json(report).encode()
    members[REPORT_HTML] = render(report, drawn).encode()
    done()
    manifest = Manifest(
        name=out.stem,
        detector=detector.info(),
        input=detector.input,
        payloads=[part.payload for part in parts],
        files=_entries(members),
        report=REPORT_HTML,
        tools=tool_versions(),
    )
    digest = write_bundle(out, manifest, members)
    full = report.model_copy(
        update={
            "bundle": BundleInfo(name=out.stem, digest=digest),
            "measurement": [part.measurement for part in parts if part.measurement is not None],
        }
    )
    html = out.with_suffix(".html")
    write_atomic(html, render(full, drawn).encode())
    done()
    return Compiled(out, digest, full, html, manifest, images)


def require_possible(
    model: Path, targets: Sequence[Target], data: Path, out: Path, max_false_alarms: float,
    precision: Precision | None = None, reject: float | None = None, keep: tuple[str, ...] | Tolerance = (),
) -> tuple[Detector, Normals]:  # fmt: skip
    """The model and its data, when nothing that is known beforehand stands against this compile. Raises as
    `compile_bundle` does before anything costly."""
    _check_arguments(targets, precision, out)
    _check_keep(targets, precision, keep)
    detector = load_detector(model)
    for target in targets:
        if isinstance(target, ImageTarget):
            board_detector(detector, target.name)  # refuses those that no board takes
            if keep != ():
                require_keep(detector, target.name, keep if isinstance(keep, tuple) else ())
    normals = find_normals(detector.splits, data, detector.input)
    order = np.arange(len(normals.threshold))
    planned = calibrate_threshold(order, max_false_alarms)  # refuses what n cannot support
    if reject is not None:
        rejection_band(order, planned, reject)
    return detector, normals


def forms(targets: Sequence[Target], precision: Precision | None) -> Iterator[tuple[Target, Precision]]:
    """Each payload to be made: a target, renamed for what it holds beside its default, and a precision."""
    for target in targets:
        yield target, precision or target.precisions[0]
        if precision is None:
            for other in target.also:
                yield replace(target, name=f"{target.name}-{other}"), other


def _captures(detector: Detector, targets: Sequence[Target], named: bool) -> dict[int, Captured]:
    """The network by the opset that targets take; boards alone need no ONNX, but where layers are named. Raises what
    `capture` raises, naming the targets."""
    exported = {target.opset for target in targets if named or not isinstance(target, ImageTarget)}
    found = {}
    for opset in sorted({target.opset for target in targets}):
        try:
            found[opset] = capture(detector, opset) if opset in exported else unexported(detector)
        except TargetError as error:
            names = ", ".join(target.name for target in targets if target.opset == opset)
            raise TargetError(error.what, where=names, hint=error.hint) from error
    return found


Group = tuple[list[Target], Precision]


def _groups(wanted: Iterable[tuple[Target, Precision]]) -> list[Group]:
    """Boards' targets together: they share everything but how weights are packed, and give the same bytes."""
    groups: list[Group] = []
    boards: list[Target] = []
    for target, precision in wanted:
        if not isinstance(target, ImageTarget):
            groups.append(([target], precision))
            continue
        if not boards:
            groups.append((boards, precision))
        boards.append(target)
    return groups


def tool_versions() -> dict[str, str]:
    """Versions of everything that shapes a payload."""
    found = {name: edge_ad.__version__ if name == "edge-ad" else version(name) for name in _TOOLS}
    for name in _OPTIONAL_TOOLS:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _check_arguments(targets: Sequence[Target], precision: Precision | None, out: Path) -> None:
    names = [target.name for target in targets]
    if not names or len(set(names)) != len(names):
        raise UsageError("name each target once", hint="e.g. --target openvino-cpu")
    for target in targets:
        if precision is not None and precision not in target.precisions:
            raise TargetError(
                f"'{target.name}' has no {precision}", hint=f"it has: {', '.join(target.precisions)}"
            )
    if out.suffix != ".edgead":
        raise UsageError("a bundle's name ends in .edgead", where=out, hint=f"--out {out.stem}.edgead")
    if not out.stem.isprintable():
        raise UsageError("a bundle's name must be printable", where=repr(out.name))
    if not out.parent.is_dir():
        raise UsageError("there is no such folder", where=out.parent, hint="make it first")


def _check_keep(
    targets: Sequence[Target], precision: Precision | None, keep: tuple[str, ...] | Tolerance
) -> None:
    """Raises UsageError where nothing is quantized."""
    if keep == ():
        return
    if not any(made == "int8" for _, made in forms(targets, precision)):
        raise UsageError("--keep is for int8 forms, and none is made", hint="leave it away")


def _entries(members: dict[str, bytes]) -> dict[str, FileEntry]:
    return {
        name: FileEntry(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        for name, content in sorted(members.items())
    }


def _report(name: str, detector: Detector, normals: Normals, parts: list[Assembled]) -> Report:
    info = detector.info()
    teacher = info.teacher
    items = parts[0].test_items
    kinds: dict[str, int] = {}
    for item in items:
        if item.anomalous:
            kinds[item.kind] = kinds.get(item.kind, 0) + 1
    return Report(
        bundle=BundleInfo(name=name),
        detector=DetectorReport(
            name=info.name,
            preset=info.preset,
            version=info.version,
            input_shape=detector.input.shape,
            teacher=None
            if teacher is None
            else TeacherInfo(name=teacher["name"], source=teacher["provenance"], sha256=teacher["sha256"]),
        ),
        data=DataReport(
            noun=detector.input.noun,
            fit=normals.fit,
            calibration=len(normals.calibration),
            threshold=len(normals.threshold),
            new=normals.new,
            test_good=sum(not item.anomalous for item in items),
            test_anomalous=sum(item.anomalous for item in items),
            test_kinds=kinds,
        ),
        payloads=[part.report for part in parts],
        tools=tool_versions(),
    )
