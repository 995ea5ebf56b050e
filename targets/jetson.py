"""NVIDIA Jetsons: explicitly quantized ONNX files by TensorRT's rules, and FP16 beside them.

The engine is built on the device, by ONNX Runtime's TensorRT provider, and kept there.
"""

from __future__ import annotations

from functools import partial

import onnx

from edge_ad.bundle.manifest import Budget
from edge_ad.compile.capture import Captured
from edge_ad.compile.onnx_lowering import MODEL, lower_onnx
from edge_ad.compile.qdq import Feeds, quantize_symmetric
from edge_ad.compile.target import Calibration, Lowered, Precision, Target
from edge_ad.compile.tensorrt_graph import SINCE_8_5, SINCE_10_3, TensorRt
from edge_ad.compile.tensorrt_rules import require

WORKSPACE_MB = 1024
_BASIS = "not measured on a Jetson; what a step of INT8 or FP16 rounding may move an output by"

# What JetPack ships. LayerNormalization came with TensorRT 8.6: for older ones it is taken apart (opset 16).
ORIN = TensorRt("10.3", opset=17, more=SINCE_10_3)
XAVIER = TensorRt("8.5", opset=16, more=SINCE_8_5)
NANO = TensorRt("8.2", opset=13, int8=False, uint8_inputs=False)


def lower(
    device: TensorRt, captured: Captured, precision: Precision, calibration: Calibration | None,
    keep: tuple[str, ...] = (),
) -> Lowered:  # fmt: skip
    """One ONNX file that keeps TensorRT's rules. Raises TargetError naming the node that would break one."""
    flags = {"int8": "--int8 --fp16", "fp16": "--fp16", "fp32": ""}[precision]
    notes = [
        "Explicitly quantized by ONNX Runtime's quantizer: signed and symmetric, per channel for weights; Q and DQ on "
        "the inputs of weighted operators and on both branches of additions that TensorRT fuses with them, none on "
        "outputs."
        if precision == "int8"
        else "FP16 weights and values between float32 inputs and outputs.",
        "What makes the score of the network's outputs stays in float32.",
        f"Every rule of TensorRT {device.version} holds for the file. Threshold and golden vectors come from ONNX "
        "Runtime's CPU provider; no Jetson was at hand.",
        f"By hand on the device: trtexec --onnx={MODEL} {flags} --memPoolSize=workspace:{WORKSPACE_MB} "
        "--saveEngine=network.engine",
    ]
    return lower_onnx(
        captured, precision, calibration, keep, quantize=_quantize, check=partial(_check, device), notes=notes,
        where=f"TensorRT {device.version}", higher="FP16, without Q and DQ",
    )  # fmt: skip


def _quantize(model: onnx.ModelProto, feeds: Feeds, count: int) -> onnx.ModelProto:
    return quantize_symmetric(model, feeds)


def _check(device: TensorRt, model: onnx.ModelProto, name: str) -> None:
    if not device.uint8_inputs:
        _float_inputs(model)
    require(model, device, where=f"{name}.onnx")


def _float_inputs(model: onnx.ModelProto) -> None:
    """Bytes become numbers before the network instead of in its first node."""
    for value in model.graph.input:
        if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def budget(lowered: Lowered) -> Budget:
    """Files on disk; they, live activations and TensorRT's workspace in memory."""
    flash = sum(len(content) for content in lowered.files.values())
    return Budget(
        flash_bytes=flash,
        ram_bytes=flash + lowered.cost.activation_bytes + (WORKSPACE_MB << 20),
        macs=lowered.cost.macs,
        parameters=lowered.cost.parameters,
        parts={"files": flash, "workspace_while_building": WORKSPACE_MB << 20},
    )


def _target(name: str, title: str, device: TensorRt) -> Target:
    precisions: tuple[Precision, ...] = ("int8", "fp16") if device.int8 else ("fp16",)
    return Target(
        name=name,
        title=f"{title} (TensorRT {device.version}{'' if device.int8 else ', no INT8'}; never run here)",
        engine="onnxruntime",
        precisions=precisions,
        scheme="INT8 by explicit quantization, symmetric, and FP16 beside it"
        if device.int8
        else "FP16; its GPU has no INT8",
        lower=partial(lower, device),
        budget=budget,
        golden_rtol={"fp32": 1e-2, "fp16": 2e-2, "int8": 5e-2},
        golden_basis={"fp32": _BASIS, "fp16": _BASIS, "int8": _BASIS},
        options={"providers": ["tensorrt", "cuda", "cpu"], "workspace_mb": WORKSPACE_MB},
        opset=device.opset,
        also=precisions[1:],
        architectures=("aarch64",),
    )


JETSON_ORIN = _target("jetson-orin", "Jetson Orin, JetPack 6", ORIN)
JETSON_XAVIER = _target("jetson-xavier", "Jetson Xavier, JetPack 5", XAVIER)
JETSON_NANO = _target("jetson-nano", "Jetson Nano, JetPack 4", NANO)
