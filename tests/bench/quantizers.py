"""Which quantizer keeps TensorRT's rules, and what each costs in AUROC: the table of docs/jetson.md.

    python tests/bench/quantizers.py work/deep_pcb-tiny DATA/images/deep_pcb work/kitti-starnet work/kitti

Arguments are pairs of a fitted model's folder and its data. The same networks, the same calibration inputs and the same
rules for all; what is quantized runs on ONNX Runtime's CPU provider. nvidia-modelopt is no dependency of edge-ad and
pins other versions of onnx and onnxruntime: give it an environment of its own. Prints Markdown.
"""

from __future__ import annotations

import collections
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import onnx
from sklearn.metrics import roc_auc_score

from edge_ad.compile.capture import Captured, capture
from edge_ad.compile.onnx_lowering import Quantize, lower_onnx
from edge_ad.compile.qdq import Feeds, additions_apart, quantize_for_cpu, quantize_symmetric
from edge_ad.compile.scores import batches, run, score
from edge_ad.compile.target import Calibration, Precision
from edge_ad.compile.tensorrt_graph import TensorRt
from edge_ad.compile.tensorrt_rules import violations
from edge_ad.data.inputs import Labelled, Normals, find_labelled, find_normals
from edge_ad.detectors import load_detector
from edge_ad.detectors.base import Detector
from edge_ad.runtime.engines.base import Tensor
from edge_ad.runtime.engines.onnxruntime import OnnxRuntimeEngine
from edge_ad.targets.jetson import ORIN


def by_onnxruntime(model: onnx.ModelProto, feeds: Feeds, count: int) -> onnx.ModelProto:
    """onnxruntime.quantization as the jetson targets use it."""
    return quantize_symmetric(model, feeds)


def by_nncf_symmetric(
    model: onnx.ModelProto, feeds: Feeds, count: int, signed: bool | None = None
) -> onnx.ModelProto:
    """nncf with symmetric activations, the whole range, no bias correction."""
    import nncf
    from nncf.common.quantization.structs import QuantizationScheme
    from nncf.quantization.advanced_parameters import (
        AdvancedQuantizationParameters,
        OverflowFix,
        QuantizationParameters,
    )
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    wanted = QuantizationParameters(mode=QuantizationScheme.SYMMETRIC, signedness_to_force=signed)
    return nncf.quantize(
        model,
        nncf.Dataset(feeds),
        subset_size=count,
        preset=nncf.QuantizationPreset.PERFORMANCE,
        ignored_scope=nncf.IgnoredScope(names=additions_apart(model.graph), validate=False),
        advanced_parameters=AdvancedQuantizationParameters(
            overflow_fix=OverflowFix.DISABLE,
            disable_bias_correction=True,
            activations_quantization_params=wanted,
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        ),
    )


def by_nncf_signed(model: onnx.ModelProto, feeds: Feeds, count: int) -> onnx.ModelProto:
    """The same, and signed."""
    return by_nncf_symmetric(model, feeds, count, signed=True)


RELABELLED: list[str] = []  # what the quantizer at work wrote instead of what it was given


class _Kept:
    """Feeds as modelopt reads them, which starts again."""

    def __init__(self, feeds: Feeds):
        self._feeds = [dict(feed) for feed in feeds]
        self.rewind()

    def rewind(self) -> None:
        self._next = iter(self._feeds)

    def get_next(self) -> dict[str, Tensor] | None:
        return next(self._next, None)

    def get_first(self) -> Mapping[str, Tensor]:
        return self._feeds[0]


def by_modelopt(model: onnx.ModelProto, feeds: Feeds, count: int, **options: Any) -> onnx.ModelProto:
    """nvidia-modelopt with float32 around, largest value as range, calibrated on the CPU."""
    from modelopt.onnx.quantization import quantize

    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(model), source)
        quantize(
            str(source), "int8", calibration_data_reader=_Kept(feeds), calibration_method="max",
            calibration_eps=["cpu"], high_precision_dtype="fp32", opset=ORIN.opset, output_path=str(made),
            log_level="ERROR", **options,
        )  # fmt: skip
        return _relabelled(onnx.load(made), model)


def _relabelled(made: onnx.ModelProto, source: onnx.ModelProto) -> onnx.ModelProto:
    """With the source's opset, so that it can be joined with its other stages; what was written instead is told. INT8 Q
    and DQ with float32 scales are the same in both."""
    written = max(entry.version for entry in made.opset_import if entry.domain in ("", "ai.onnx"))
    wanted = max(entry.version for entry in source.opset_import if entry.domain in ("", "ai.onnx"))
    copy = onnx.ModelProto()
    copy.CopyFrom(made)
    del copy.opset_import[:]
    copy.opset_import.append(onnx.helper.make_opsetid("", wanted))
    copy.ir_version = source.ir_version
    try:
        onnx.checker.check_model(copy)
    except onnx.checker.ValidationError:  # it uses other operators of the newer opset; alone it runs as it is
        return made
    if written != wanted:
        RELABELLED.append(f"opset {written} instead of {wanted}")
    return copy


def by_modelopt_told(model: onnx.ModelProto, feeds: Feeds, count: int) -> onnx.ModelProto:
    """The same, told which operators: those that `quantize_symmetric` takes."""
    return by_modelopt(
        model, feeds, count, op_types_to_quantize=["Conv", "ConvTranspose", "Gemm", "MatMul", "Add"],
        nodes_to_exclude=additions_apart(model.graph), passes=[],
    )  # fmt: skip


WAYS: dict[str, tuple[str, Quantize]] = {
    "onnxruntime.quantization, symmetric": ("onnxruntime", by_onnxruntime),
    "nncf, as for CPUs": ("nncf", quantize_for_cpu),
    "nncf, told symmetric": ("nncf", by_nncf_symmetric),
    "nncf, told symmetric and signed": ("nncf", by_nncf_signed),
    "nvidia-modelopt, its defaults": ("nvidia-modelopt", by_modelopt),
    "nvidia-modelopt, told which operators": ("nvidia-modelopt", by_modelopt_told),
}
HEADS = ("network", "quantizer", "version", "rules broken (places)", "quantized weighted operators", "AUROC float",
         "AUROC INT8", "change", "seconds")  # fmt: skip


def auroc(detector: Detector, files: Mapping[str, bytes], parts: Mapping[str, str], normals: Normals, test: Labelled
          ) -> float:  # fmt: skip
    """Of the test inputs, with the head that these networks' own outputs give."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        opened = {name: OnnxRuntimeEngine(Path(folder) / file, threads=1) for name, file in parts.items()}
        engine = OnnxRuntimeEngine(Path(folder) / "network.onnx", threads=1, parts=opened)
        head = detector.fit_head(run(engine, batches(normals.calibration, detector.input)), engine.parts)
        found = score(engine, head, batches(test.inputs, detector.input)).scores
    return float(roc_auc_score([item.anomalous for item in test.items], found))


def weighted(model: onnx.ModelProto) -> str:
    """How many of the convolutions and matrix products take quantized values."""
    made = {output: node for node in model.graph.node for output in node.output}
    nodes = [node for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")]
    moves = (
        "Reshape",
        "Transpose",
        "Concat",
        "Pad",
        "Resize",
        "Slice",
        "Squeeze",
        "Unsqueeze",
        "MaxPool",
        "Relu",
    )

    def quantized(name: str) -> bool:
        node = made.get(name)
        while node is not None and node.op_type in moves:
            node = made.get(node.input[0])
        return node is not None and node.op_type == "DequantizeLinear"

    return f"{sum(quantized(node.input[0]) for node in nodes)} of {len(nodes)}"


def measured(
    title: str, detector: Detector, captured: Captured, normals: Normals, test: Labelled, before: float,
    device: TensorRt,
) -> list[list[str]]:  # fmt: skip
    """One line of the table for each quantizer that is installed."""
    rows = []
    inputs = Calibration(lambda: batches(normals.calibration, detector.input), len(normals.calibration))
    for name, (package, quantize) in WAYS.items():
        try:
            number = version(package)
        except PackageNotFoundError:
            rows.append([title, name, "not installed", *["-"] * 6])
            continue
        broken: collections.Counter[str] = collections.Counter()
        seen: list[onnx.ModelProto] = []
        check = _collector(broken, seen, device)
        begun = time.monotonic()
        RELABELLED.clear()
        try:
            lowered = lower_onnx(captured, "int8", inputs, quantize=quantize, check=check, notes=[])
            after = auroc(detector, lowered.files, lowered.parts, normals, test)
        except Exception as error:  # each quantizer fails in its own way, and that is a result
            rows.append([title, name, number, f"fails: {str(error).splitlines()[0][:120]}", *["-"] * 5])
            continue
        told = ", ".join([*RELABELLED[:1], *(f"{rule} {count}" for rule, count in broken.items())]) or "none"
        rows.append([title, name, number, told, weighted(seen[0]), f"{before:.4f}", f"{after:.4f}",
                     f"{after - before:+.4f}", f"{time.monotonic() - begun:.0f}"])  # fmt: skip
    return rows


def _collector(
    broken: collections.Counter[str], seen: list[onnx.ModelProto], device: TensorRt
) -> Callable[[onnx.ModelProto, str], None]:
    def check(model: onnx.ModelProto, name: str) -> None:
        seen.append(model)
        broken.update(violation.rule for violation in violations(model, device))

    return check


@click.command(help=__doc__.splitlines()[0])
@click.argument("pairs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--only", help="Those whose name holds this.", default="")
def main(pairs: tuple[Path, ...], only: str) -> None:
    for name in [name for name in WAYS if only not in name]:
        del WAYS[name]
    print("| " + " | ".join(HEADS) + " |\n|" + " --- |" * len(HEADS), flush=True)
    for model, data in zip(pairs[::2], pairs[1::2], strict=True):
        detector = load_detector(model)
        normals, test = (
            find_normals(detector.splits, data, detector.input),
            find_labelled(data, detector.input),
        )
        captured = capture(detector, ORIN.opset)
        precision: Precision = "fp32"
        plain = lower_onnx(
            captured, precision, None, quantize=by_onnxruntime, check=lambda m, n: None, notes=[]
        )
        before = auroc(detector, plain.files, plain.parts, normals, test)
        for line in measured(model.name, detector, captured, normals, test, before, ORIN):
            print("| " + " | ".join(line) + " |", flush=True)


if __name__ == "__main__":
    main()
