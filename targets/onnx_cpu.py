"""ONNX Runtime on any CPU: the portable fallback."""

from __future__ import annotations

from edge_ad.bundle.manifest import Budget
from edge_ad.compile.capture import Captured
from edge_ad.compile.onnx_lowering import lower_onnx
from edge_ad.compile.qdq import quantize_for_cpu
from edge_ad.compile.target import Calibration, Lowered, Precision, Target

_NOTES = [
    "Weights symmetric per channel in 7 bits, so that CPUs without VNNI do not overflow; activations per tensor.",
    "What makes the score of the network's outputs stays in float32: an 8-bit score would be a defect.",
]


def lower(
    captured: Captured, precision: Precision, calibration: Calibration | None, keep: tuple[str, ...] = ()
) -> Lowered:
    """One ONNX file, quantized by nncf when `precision` is int8."""
    return lower_onnx(
        captured,
        precision,
        calibration,
        keep,
        quantize=quantize_for_cpu,
        check=lambda model, name: None,
        notes=_NOTES,
        where="onnx-cpu",
        higher="float32",
    )


def budget(lowered: Lowered) -> Budget:
    """Files on disk; they and live activations in memory. A CPU sets no limit."""
    flash = sum(len(content) for content in lowered.files.values())
    return Budget(
        flash_bytes=flash,
        ram_bytes=flash + lowered.cost.activation_bytes,
        macs=lowered.cost.macs,
        parameters=lowered.cost.parameters,
    )


TARGET = Target(
    name="onnx-cpu",
    title="ONNX Runtime on any CPU",
    engine="onnxruntime",
    precisions=("int8", "fp32"),
    scheme="weights INT8 symmetric per channel, activations INT8 per tensor, score in float32",
    lower=lower,
    budget=budget,
    golden_rtol={"fp32": 1e-3, "int8": 5e-2},
    golden_basis={
        "fp32": "float32 sums in another order",
        "int8": "ONNX Runtime's integer kernels round as their instruction set does: a step of the quantization",
    },
    options={"providers": ["cpu"]},
)
