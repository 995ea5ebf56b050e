"""Explicit quantization of ONNX networks: QuantizeLinear and DequantizeLinear where a device wants them.

For TensorRT by ONNX Runtime's quantizer: of those that were measured it alone keeps to TensorRT's rules, signed and
symmetric activations on the inputs of weighted operators (nncf makes unsigned ones behind a ReLU and cannot be told
otherwise). For ONNX Runtime on a CPU by nncf, as for OpenVINO: its unsigned ranges lose less.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from edge_ad.compile.layers import called
from edge_ad.compile.onnx_graphs import constants, sort_nodes
from edge_ad.detectors.imported.graphs import keep_needed
from edge_ad.runtime.engines.base import Tensor

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
Feeds = Iterable[Mapping[str, Tensor]]


def quantize_symmetric(model: onnx.ModelProto, feeds: Feeds) -> onnx.ModelProto:
    """Signed INT8 with all zero points 0: per channel for weights, per tensor for the inputs of weighted operators and
    for both branches of an Add that TensorRT can fuse with the weighted operator before it. Nothing is quantized behind
    the last of them.

    feeds: inputs of the model by name, each of batch 1. Ranges reach from the smallest to the largest value, since the
    score is a maximum. Weights stay float32 in the file, with Q and DQ behind them, as TensorRT's parsers want it.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    quantized_types = [*WEIGHTED, "Add"]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, made = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(model), source)
        quantize_static(
            source,
            made,
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=quantized_types,
            nodes_to_exclude=additions_apart(model.graph),
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "AddQDQPairToWeight": True,
                "DedicatedQDQPair": True,
                "OpTypesToExcludeOutputQuantization": quantized_types,
            },
        )
        return onnx.load(made)


def quantize_for_cpu(model: onnx.ModelProto, feeds: Feeds, count: int) -> onnx.ModelProto:
    """INT8 by nncf with the settings of `openvino_ir.quantize`. feeds: `count` inputs by name."""
    os.environ.setdefault("NNCF_CI", "1")  # nncf's switch for sending no usage statistics
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    logging.getLogger("nncf").setLevel(logging.WARNING)
    exact = [kind for kind in ("Pow", "ReduceMean") if any(node.op_type == kind for node in model.graph.node)]
    with _quiet():
        quantized: onnx.ModelProto = nncf.quantize(
            model,
            nncf.Dataset(feeds),
            subset_size=count,
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(types=exact, names=additions_apart(model.graph), validate=False),
            advanced_parameters=AdvancedQuantizationParameters(
                overflow_fix=OverflowFix.ENABLE,
                disable_bias_correction=True,
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            ),
        )
    return quantized


def float_operators(model: onnx.ModelProto) -> list[str]:
    """Weighted operators whose first input is not quantized."""
    made = {output: node for node in model.graph.node for output in node.output}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in WEIGHTED and not _comes_from(made.get(node.input[0]), ("DequantizeLinear",), made)
    ]


def float_again(
    quantized: onnx.ModelProto, original: onnx.ModelProto, names: Collection[str]
) -> onnx.ModelProto:
    """A copy of a quantized network whose layers `names` take their inputs as they are made and have the weights of
    `original`, the float network that it was made of; all other layers stay as they were quantized.

    Pooling, resizing and moves between the layer before and one of `names` are undone with it.
    """
    model = onnx.ModelProto()
    model.CopyFrom(quantized)
    weights = {node.name: node for node in original.graph.node}
    undo = _Undoing(model.graph)
    for node in list(model.graph.node):
        if node.op_type not in (*WEIGHTED, "Add") or called(node.name, names) is None:
            continue
        for i in (0, 1):
            constant = _initializer(original.graph, weights[node.name].input[i])
            node.input[i] = undo.unrounded(node.input[i]) if constant is None else undo.constant(constant)
    undo.finish()
    return model


class _Undoing:
    """Values of a graph before they were rounded, with copies of what is light between."""

    def __init__(self, graph: onnx.GraphProto):
        self.graph = graph
        self.made = {output: node for node in graph.node for output in node.output}
        self.copies: dict[str, str] = {}
        self.passed: set[str] = set()  # outputs of the DequantizeLinear that layers do not take any more

    def unrounded(self, name: str) -> str:
        """The tensor that `name` is without rounding on the way; what else reads that way is untouched."""
        node = self.made.get(name)
        if node is not None and node.op_type in ("DequantizeLinear", "QuantizeLinear"):
            if node.op_type == "DequantizeLinear":
                self.passed.add(name)
            return self.unrounded(node.input[0])
        if node is None or node.op_type not in _LIGHT:
            return name
        if name in self.copies:
            return self.copies[name]
        free = [self.unrounded(given) if given else "" for given in node.input]
        if free == list(node.input):
            return name
        copy = self.graph.node.add()
        copy.CopyFrom(node)
        copy.name = f"{node.name}/float"
        copy.input[:] = free
        copy.output[:] = [f"{output}/float" if output else "" for output in node.output]
        self.copies |= {output: f"{output}/float" for output in node.output}
        return self.copies[name]

    def constant(self, tensor: onnx.TensorProto) -> str:
        """The tensor in this graph, under a name of its own."""
        name = f"{tensor.name}/float"
        if _initializer(self.graph, name) is None:
            copy = self.graph.initializer.add()
            copy.CopyFrom(tensor)
            copy.name = name
        return name

    def finish(self) -> None:
        """Each node behind what it reads, nothing left that nobody reads, and no rounding that no layer asks for."""
        outputs = [output.name for output in self.graph.output]
        sort_nodes(self.graph)
        keep_needed(self.graph, outputs)
        self.made = {output: node for node in self.graph.node for output in node.output}
        idle = {name: self.made[name] for name in self.passed if name in self.made and not self._wanted(name)}
        for node in self.graph.node:
            for i, name in enumerate(node.input):
                if name in idle and (before := self.made.get(idle[name].input[0])) is not None:
                    node.input[i] = before.input[0]
        keep_needed(self.graph, outputs)

    def _wanted(self, name: str) -> bool:
        """Whether a layer takes a tensor, moved at most."""
        return any(
            node.op_type in (*WEIGHTED, "Add")
            or (node.op_type in (*_MOVES, "MaxPool") and any(map(self._wanted, node.output)))
            for node in self.graph.node
            if name in node.input
        )


def _initializer(graph: onnx.GraphProto, name: str) -> onnx.TensorProto | None:
    return next((tensor for tensor in graph.initializer if tensor.name == name), None)


_MOVES = (
    "Concat",
    "Pad",
    "Reshape",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Split",
    "Slice",
    "Flatten",
    "Resize",
)
# What costs little and stands between a layer and the one before it: it goes along with a layer that is kept.
_LIGHT = (*_MOVES, "MaxPool", "AveragePool", "GlobalAveragePool", "Relu", "LeakyRelu", "Clip")


def _comes_from(
    node: onnx.NodeProto | None, kinds: Sequence[str], made: Mapping[str, onnx.NodeProto]
) -> bool:
    """Whether a tensor is what an operator of these kinds made, moved at most."""
    while node is not None and node.op_type in _MOVES:
        node = made.get(node.input[0])
    return node is not None and node.op_type in kinds


def additions_apart(graph: onnx.GraphProto) -> list[str]:
    """Adds that are better left alone: of a bias, which is part of the operator before it, and of branches that
    come from no weighted operator. Those are residual streams, which lose much in INT8 and gain no speed by it
    (TSPulse on the servers of ASD: AUROC 0.027 lower with them, 0.0001 without)."""
    fixed = constants(graph)
    made = {output: node for node in graph.node for output in node.output}
    return [
        node.name
        for node in graph.node
        if node.op_type == "Add"
        and (
            any(name in fixed for name in node.input)
            or not any(_comes_from(made.get(name), WEIGHTED, made) for name in node.input)
        )
    ]


class _Reader:
    """Feeds, as ONNX Runtime's calibrator reads them; its base class would import all of the quantizer here."""

    def __init__(self, feeds: Feeds):
        self._feeds: Iterator[Mapping[str, Tensor]] = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        """The next feed, None at the end."""
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)

    def __len__(self) -> int:
        raise TypeError("a stream has no length")  # the calibrator then reads it to its end


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Quantizers print progress and advice of their own."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
