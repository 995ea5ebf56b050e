"""LiteRT on Linux boards (Raspberry Pi and others): full-INT8 .tflite files, as microcontrollers take them too."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edge_ad.bundle.manifest import Budget
from edge_ad.compile import litert, openvino_ir
from edge_ad.compile import litert_stages as stages
from edge_ad.compile.capture import Captured
from edge_ad.compile.cost import Cost, count
from edge_ad.compile.layers import Layer, chosen, layers_of, told
from edge_ad.compile.target import Calibration, Lowered, Precision, Target
from edge_ad.detectors.base import Staged, as_tuple
from edge_ad.runtime.engines.base import Tensor
from edge_ad.runtime.engines.litert import LiteRtEngine

MODEL = "network.tflite"
_FLOOR = 1e-3  # of a golden tolerance: float32 sums in another order


def lower(
    captured: Captured, precision: Precision, calibration: Calibration | None, keep: tuple[str, ...] = ()
) -> Lowered:
    """Torch to .tflite, stage by stage; the middle one quantized, inputs and outputs too, when `precision` is int8."""
    cost = captured.once(("litert cost", precision), lambda: _cost(captured, precision))
    return lower_at(captured, precision, calibration, cost, keep)


def lower_at(
    captured: Captured, precision: Precision, calibration: Calibration | None, cost: Cost,
    keep: tuple[str, ...] = (),
) -> Lowered:  # fmt: skip
    """`lower` at a cost that is known, for a network that was not exported as ONNX, which it is counted on."""
    staged = stages.stages_of(captured, "litert")
    calibration = calibration if precision == "int8" else None
    kept = chosen(layers_of(captured), keep if calibration is not None else (), "litert")
    with torch.no_grad():
        files, decisions = _files(captured, staged, calibration, kept)
    for name in captured.parts:
        files[f"{name}.tflite"] = stages.part(captured, name, calibration, kept)
        decisions.append(f"The score head calls a further network, '{name}', compiled in the same way.")
    decisions += told(kept, "float32")
    options: dict[str, Any] = {"outputs": list(captured.outputs), "precision": precision}
    options |= {stage: f"{stage}.tflite" for stage in ("front", "tail") if f"{stage}.tflite" in files}
    options |= {"part_outputs": {name: list(part.outputs) for name, part in captured.parts.items()}}
    parts = {name: f"{name}.tflite" for name in captured.parts}
    names = tuple(layer.name for layer in kept)
    return Lowered(precision, files, MODEL, cost, decisions, parts, options, kept=names)


def _files(
    captured: Captured, staged: Staged, calibration: Calibration | None, kept: Sequence[Layer]
) -> tuple[dict[str, bytes], list[str]]:
    core = stages.core(captured, staged, calibration, kept)
    decisions = []
    if calibration is not None:
        floats = litert.float_operators(core)
        decisions = [
            f"INT8 ranges from {calibration.count} normal {captured.input.noun}s; weights symmetric per channel, "
            "inputs and outputs INT8 too: the file is what microcontrollers take.",
            "What comes before and what makes the score of its outputs stays in float32, in files of their own.",
            f"Operators kept in float32: {', '.join(floats) if floats else 'none'}.",
        ]
    given = stages.example(captured)
    edges = as_tuple(staged.front(given))
    files = {MODEL: core}
    if not _only_casts(staged.front):
        files["front.tflite"] = captured.once(
            ("litert front",),
            lambda: litert.convert(staged.front, (given,), what="what comes before the network"),
        )
    if staged.tail is not None:
        made, tail = as_tuple(staged.core(*edges[: staged.core_inputs])), staged.tail
        rest = (*made, *edges[staged.core_inputs :])
        files["tail.tflite"] = captured.once(
            ("litert tail",), lambda: litert.convert(tail, rest, what="what makes the score")
        )
    return files, decisions


def _only_casts(front: nn.Module) -> bool:
    """Whether a front hands its input on as it is, but for its type; the engine does that itself."""
    return isinstance(front, nn.Identity) or getattr(front, "only_casts", False)


def _cost(captured: Captured, precision: Precision) -> Cost:
    stages = (captured.front, captured.onnx, captured.tail, *(part.onnx for part in captured.parts.values()))
    costs = [count(openvino_ir.import_onnx(stage), int8=False) for stage in stages if stage is not None]
    return Cost(
        macs=sum(cost.macs for cost in costs),
        parameters=sum(cost.parameters for cost in costs),
        activation_bytes=max(cost.activation_bytes for cost in costs) // (4 if precision == "int8" else 1),
    )


def golden(lowered: Lowered, inputs: list[Tensor]) -> tuple[float, str]:
    """The tolerance of golden vectors, by measurement: twice the largest difference, relative to an output's largest
    value, between the fast kernels, the plain ones, and the reference that defines LiteRT."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in lowered.files.items():
            (Path(folder) / name).write_bytes(content)
        options = {key: value for key, value in lowered.options.items() if key != "part_outputs"}
        results = []
        for kernels in ("fast", "plain", "reference"):
            engine = LiteRtEngine(Path(folder) / MODEL, kernels=kernels, threads=1, **options)  # type: ignore[arg-type]
            results.append([engine.infer(batch) for batch in inputs])
    worst = {name: max(_difference(a, b) for a, b in zip(found, results[2], strict=True))
             for name, found in (("fast", results[0]), ("plain", results[1]))}  # fmt: skip
    told = ", ".join(f"{name} kernels {value:.2g}" for name, value in worst.items())
    return max(
        _FLOOR, 2 * max(worst.values())
    ), f"measured, largest difference from LiteRT's reference: {told}"


def _difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest difference of an output, in parts of the output's largest value."""
    shares = []
    for name, value in b.items():
        wanted, found = value.astype(np.float64), a[name].astype(np.float64)
        shares.append(float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-12)))
    return max(shares)


def budget(lowered: Lowered) -> Budget:
    """Files on disk; they and live activations in memory. A Linux board sets no limit."""
    flash = sum(len(content) for content in lowered.files.values())
    return Budget(
        flash_bytes=flash,
        ram_bytes=flash + lowered.cost.activation_bytes,
        macs=lowered.cost.macs,
        parameters=lowered.cost.parameters,
    )


TARGET = Target(
    name="litert",
    title="LiteRT on Linux boards (Raspberry Pi and others)",
    engine="litert",
    precisions=("int8", "fp32"),
    scheme="full INT8: weights symmetric per channel, activations per tensor; score in float32",
    lower=lower,
    budget=budget,
    golden_rtol={"fp32": _FLOOR, "int8": _FLOOR},
    golden_basis={"fp32": "float32 sums in another order", "int8": "measured on each payload"},
    golden=golden,
)
