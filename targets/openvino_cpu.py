"""Any CPU that OpenVINO runs on: x86-64 from AVX2 up, and 64-bit ARM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from edge_ad.bundle.manifest import Budget
from edge_ad.compile import openvino_ir
from edge_ad.compile.capture import Captured, CapturedPart
from edge_ad.compile.cost import Cost, count
from edge_ad.compile.layers import MAIN, chosen, layers_of, local_names, told
from edge_ad.compile.openvino_layers import float_again
from edge_ad.compile.target import Calibration, Lowered, Precision, Target
from edge_ad.runtime.engines.base import Tensor

MODEL = "network.xml"
_ONCE = "openvino int8"  # quantized once for whatever is kept: ranges do not depend on it


def lower(
    captured: Captured, precision: Precision, calibration: Calibration | None, keep: tuple[str, ...] = ()
) -> Lowered:
    """ONNX to IR, quantized when `precision` is int8; each further network of the score head to an IR of its own."""
    calibration = calibration if precision == "int8" else None
    kept = chosen(layers_of(captured), keep if calibration is not None else (), "openvino-cpu")
    network, decisions = _network(captured, calibration, local_names(kept, MAIN))
    models = {"network": network}
    for name, part in captured.parts.items():
        models[name] = _part(captured, name, part, calibration, local_names(kept, name))
        decisions.append(f"The score head calls a further network, '{name}', compiled in the same way.")
    decisions += told(kept, "float32")
    files: dict[str, bytes] = {}
    for name, model in models.items():
        files[f"{name}.xml"], files[f"{name}.bin"] = openvino_ir.serialise(model)
    costs = [count(model, int8=precision == "int8") for model in models.values()]
    cost = Cost(
        macs=sum(cost.macs for cost in costs),
        parameters=sum(cost.parameters for cost in costs),
        activation_bytes=max(cost.activation_bytes for cost in costs),
    )
    parts = {name: f"{name}.xml" for name in captured.parts}
    return Lowered(precision, files, MODEL, cost, decisions, parts, kept=tuple(layer.name for layer in kept))


def _network(
    captured: Captured, calibration: Calibration | None, kept: frozenset[str]
) -> tuple[Any, list[str]]:
    """The main network, its middle quantized where there is a calibration, but for the layers `kept`."""
    front = None if captured.front is None else openvino_ir.import_onnx(captured.front)
    tail = None if captured.tail is None else openvino_ir.import_onnx(captured.tail)
    core = openvino_ir.import_onnx(captured.onnx)
    decisions = []
    if calibration is not None:
        count, plain = calibration.count, core

        def quantized() -> Any:
            inputs = (
                calibration.batches() if front is None else _core_inputs(plain, front, calibration.batches())
            )
            whole = [p.output(0).get_any_name() for p in plain.get_parameters()] if captured.pixels else []
            return openvino_ir.quantize(plain, inputs, count, captured.exact_types, whole)

        core = float_again(captured.once((_ONCE, MAIN, count), quantized), plain, kept)
        floats = openvino_ir.float_operators(core)
        pixels = "; raw pixels enter as they are, 0 to 255" if captured.input.dtype == "uint8" else ""
        decisions = [
            f"INT8 ranges from {count} normal {captured.input.noun}s; weights symmetric per channel in 7 "
            f"bits, so that CPUs without VNNI do not overflow{pixels}.",
            "What makes the score of the network's outputs stays in float32: an 8-bit score would be a defect.",
            f"Convolutions and matrix products kept in float32: {', '.join(floats) if floats else 'none'}.",
        ]
    return openvino_ir.joined(front, core, tail), decisions


def _core_inputs(core: Any, front: Any, batches: Iterable[Tensor]) -> Iterator[dict[str, Tensor]]:
    """What the front makes of each batch, as far as the core takes it."""
    names = [parameter.output(0).get_any_name() for parameter in core.get_parameters()]
    for outputs in openvino_ir.through(front, batches):
        yield {name: outputs[name] for name in names}


def _part(
    captured: Captured, name: str, part: CapturedPart, calibration: Calibration | None, kept: frozenset[str]
) -> Any:
    """A further network, quantized on what the main one hands it when all of that is INT8."""
    model = openvino_ir.import_onnx(part.onnx)
    if calibration is None:
        return model

    def quantized() -> Any:
        network, _ = _network(captured, calibration, frozenset())
        inputs = [
            batch
            for outputs in openvino_ir.through(network, calibration.batches())
            for batch in part.inputs(outputs)
        ]
        return openvino_ir.quantize(model, inputs, len(inputs))

    return float_again(captured.once((_ONCE, name, calibration.count), quantized), model, kept)


def budget(lowered: Lowered) -> Budget:
    """Files on disk; weights and live activations in memory. A CPU sets no limit."""
    flash = sum(len(content) for content in lowered.files.values())
    return Budget(
        flash_bytes=flash,
        ram_bytes=sum(len(content) for name, content in lowered.files.items() if name.endswith(".bin"))
        + lowered.cost.activation_bytes,
        macs=lowered.cost.macs,
        parameters=lowered.cost.parameters,
    )


TARGET = Target(
    name="openvino-cpu",
    title="OpenVINO on a CPU (x86-64 from AVX2; ARM64 in float32)",
    engine="openvino",
    precisions=("int8", "fp32"),
    scheme="weights INT8 symmetric per channel, activations INT8 per tensor, score in float32",
    lower=lower,
    budget=budget,
    golden_rtol={"fp32": 1e-3, "int8": 1e-3},
    golden_basis={
        "fp32": "float32 sums in another order",
        # Measured on ARM64, where only some layers run in INT8: 9 % of a vector's peak (FADeR). That has to be refused.
        "int8": "measured: no difference between AMX, AVX512-VNNI, AVX512 and AVX2; ARM64 may differ by more",
    },
)
