"""What a detector costs on a target before and after pruning, measured in one run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from edge_ad.compile.capture import capture, unexported
from edge_ad.compile.latency import Latency, compare
from edge_ad.compile.scores import batches
from edge_ad.compile.target import Calibration, ImageTarget, Lowered, Precision, Target
from edge_ad.data.inputs import Inputs
from edge_ad.detectors.base import Detector
from edge_ad.runtime.engines import open_model
from edge_ad.runtime.engines.base import Tensor

REPEATS = 3  # of a comparison of 15 runs each; the median of them is told

# How many output channels kernels compute at once: narrower layers leave lanes idle.
LANES = {"openvino": 16, "onnxruntime": 16, "litert": 8, "board": 4}


@dataclass(frozen=True)
class Costs:
    """Before and after. latency_us: medians side by side, None where this machine is none of the target's. ratio: of
    times, above 1 when pruning paid. macs, parameters: as the target's own form has them."""

    precision: Precision
    latency_us: tuple[int, int] | None
    ratio: float | None
    flash_bytes: tuple[int, int]
    ram_bytes: tuple[int, int]
    macs: tuple[int, int]


def lanes(target: Target) -> int:
    """What layers' widths should be multiples of on a target."""
    return LANES.get(target.engine, 8)


def measure(before: Detector, after: Detector, target: Target, calibration: Inputs) -> Costs:
    """Lower both for `target` in its usual precision, and time them in turn where this machine can run them.

    calibration: normal inputs as acquired. Raises TargetError for a detector that the target does not take.
    """
    precision = target.precisions[0]
    forms = [_lowered(detector, target, precision, calibration) for detector in (before, after)]
    first, second = (target.budget(_sized(form)) for form in forms)
    batch = next(batches(calibration, after.input))
    latency = None if isinstance(target, ImageTarget) else _timed(target, forms, batch)
    return Costs(
        precision,
        None if latency is None else (latency.float_us, latency.compiled_us),
        None if latency is None else latency.ratio,
        (first.flash_bytes, second.flash_bytes),
        (first.ram_bytes, second.ram_bytes),
        (first.macs, second.macs),
    )


def _lowered(detector: Detector, target: Target, precision: Precision, calibration: Inputs) -> Lowered:
    def normals() -> Iterator[Tensor]:
        return batches(calibration, detector.input)

    captured = unexported(detector) if isinstance(target, ImageTarget) else capture(detector, target.opset)
    return target.lower(captured, precision, Calibration(normals, len(calibration)))


def _sized(lowered: Lowered) -> Lowered:
    """What tells the size of a form: without the networks where a board's image will have none."""
    if lowered.board is None or lowered.board.sized is None:
        return lowered
    return replace(lowered, board=lowered.board.sized)


def _timed(target: Target, forms: list[Lowered], batch: Tensor) -> Latency:
    with tempfile.TemporaryDirectory(prefix="edge-ad-") as folder, ExitStack() as open_:
        engines = []
        for number, form in enumerate(forms):
            place = Path(folder) / str(number)
            place.mkdir()
            for name, content in form.files.items():
                (place / name).write_bytes(content)
            engine = open_model(
                form.engine or target.engine, place / form.model, {**target.options, **form.options}
            )
            open_.callback(engine.close)
            engines.append(engine)
        found = [compare(engines[0], engines[1], batch) for _ in range(REPEATS)]
    return Latency(
        round(median(one.float_us for one in found)), round(median(one.compiled_us for one in found)),
        median(one.ratio for one in found), sum(one.runs for one in found),
    )  # fmt: skip
