"""Any CPU that OpenVINO runs on: x86-64 from AVX2 up, and 64-bit ARM."""

from __future__ import annotations

from edge_ad.bundle.manifest import Budget
from edge_ad.compile import openvino_ir
from edge_ad.compile.capture import Captured
from edge_ad.compile.cost import count
from edge_ad.compile.target import Calibration, Lowered, Precision, Target

MODEL = "network.xml"
WEIGHTS = "network.bin"


def lower(captured: Captured, precision: Precision, calibration: Calibration | None) -> Lowered:
    """ONNX to IR, quantized when `precision` is int8."""
    model = openvino_ir.import_onnx(captured)
    decisions = []
    if precision == "int8":
        assert calibration is not None
        model = openvino_ir.quantize(model, calibration.batches(), calibration.count)
        kept = openvino_ir.float_operators(model)
        decisions = [
            f"INT8 ranges from {calibration.count} normal images; weights symmetric per channel in 7 bits, so "
            "that CPUs without VNNI do not overflow; raw pixels enter as they are, 0 to 255.",
            "Squares, channel means and maps stay in float32: an 8-bit score would be a defect.",
            f"Convolutions kept in float32: {', '.join(kept) if kept else 'none'}.",
        ]
    cost = count(model, int8=precision == "int8")
    xml, weights = openvino_ir.serialise(model)
    return Lowered(precision, {MODEL: xml, WEIGHTS: weights}, MODEL, cost, decisions)


def budget(lowered: Lowered) -> Budget:
    """Files on disk; weights and live activations in memory. A CPU sets no limit."""
    flash = sum(len(content) for content in lowered.files.values())
    return Budget(
        flash_bytes=flash,
        ram_bytes=len(lowered.files[WEIGHTS]) + lowered.cost.activation_bytes,
        macs=lowered.cost.macs,
        parameters=lowered.cost.parameters,
    )


TARGET = Target(
    name="openvino-cpu",
    title="OpenVINO on a CPU (x86-64 from AVX2, ARM64)",
    engine="openvino",
    precisions=("int8", "fp32"),
    scheme="weights INT8 symmetric per channel, activations INT8 per tensor, score in float32",
    lower=lower,
    budget=budget,
    golden_rtol={"fp32": 1e-3, "int8": 1e-3},
    golden_basis={
        "fp32": "float32 sums in another order",
        "int8": "measured: no difference between AMX, AVX512-VNNI, AVX512 and AVX2; ARM was not measured",
    },
)
