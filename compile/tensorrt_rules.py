"""TensorRT's rules for explicitly quantized ONNX files, held on the file that was made.

After NVIDIA's TensorRT Developer Guide, "Working with Quantized Types: Explicit Quantization" and "Q/DQ placement
recommendations", and the operator tables of its ONNX parser. What breaks a rule is named with its node, since TensorRT
itself would build an engine that is slow or inexact, or would fail on the device with a message about its insides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edge_ad.compile.onnx_graphs import attributes, constants
from edge_ad.errors import TargetError

Q, DQ = "QuantizeLinear", "DequantizeLinear"
_WEIGHT_AXIS = {"Conv": 0, "ConvTranspose": 1}
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Those that its parser knows since 8.2 (docs/operators.md of onnx-tensorrt), without control flow and randomness.
_NAMES = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip Concat
Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal
Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool
GlobalMaxPool Greater GreaterOrEqual HardSigmoid Identity InstanceNormalization IsNaN LRN LSTM LeakyRelu Less
LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul Max MaxPool Mean Min Mul Neg Not Or PRelu Pad Pow
QuantizeLinear RNN Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence Round ScatterElements ScatterND Selu Shape Sigmoid Sign
Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile
TopK Transpose Unsqueeze Where
"""
OPERATORS = frozenset(_NAMES.split())
# And since 8.5 and 8.6 to 10.3.
_SINCE_8_5 = (
    "GridSample HardSwish MeanVarianceNormalization Mod NonZero OneHot Reciprocal RoiAlign Shrink Trilu Xor"
)
SINCE_8_5 = frozenset(_SINCE_8_5.split())
SINCE_10_3 = SINCE_8_5 | {"DeformConv", "GroupNormalization", "Hardmax", "IsInf", "LayerNormalization"}


@dataclass(frozen=True)
class TensorRt:
    """A TensorRT and the GPU below it. opset: newest that its parser reads. int8: whether the GPU has it. uint8_inputs:
    whether a network may take bytes. more: operators beyond `OPERATORS`."""

    version: str
    opset: int
    int8: bool = True
    uint8_inputs: bool = True
    more: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Violation:
    """One rule that is broken, and where. rule: its name, as in `RULES`."""

    rule: str
    node: str
    text: str

    def __str__(self) -> str:
        return f"{self.node}: {self.text} ({self.rule})"


class _Graph:
    """A model with what the rules ask of it."""

    def __init__(self, model: onnx.ModelProto, device: TensorRt):
        self.model, self.device = model, device
        self.graph = model.graph
        self.constants = constants(model.graph)

    @cached_property
    def producers(self) -> dict[str, onnx.NodeProto]:
        """The node that makes a tensor."""
        return {output: node for node in self.graph.node for output in node.output}

    @cached_property
    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        """The nodes that take a tensor."""
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """The initialisers and constants by name."""
        found = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        for node in self.graph.node:
            if node.op_type == "Constant" and "value" in attributes(node):
                found[node.output[0]] = numpy_helper.to_array(attributes(node)["value"])
        return found

    def nodes(self, *kinds: str) -> Iterator[onnx.NodeProto]:
        """Those of these types."""
        return (node for node in self.graph.node if node.op_type in kinds)

    def made_by(self, name: str, *kinds: str) -> onnx.NodeProto | None:
        """The producer of a tensor, if it is of one of these types."""
        node = self.producers.get(name)
        return node if node is not None and node.op_type in kinds else None

    def quantized(self, name: str) -> bool:
        """Whether a tensor comes out of a DequantizeLinear."""
        return self.made_by(name, DQ) is not None

    def moved_from(self, name: str) -> str:
        """The tensor whose values these are, behind operators that only move them."""
        while (node := self.made_by(name, *_MOVES)) is not None:
            name = node.input[0]
        return name


_MOVES = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze")
_Rule = Callable[[_Graph], Iterator[tuple[str, str]]]


def _opset(g: _Graph) -> Iterator[tuple[str, str]]:
    for entry in g.model.opset_import:
        if entry.domain not in ("", "ai.onnx"):
            yield "model", f"uses the operator domain '{entry.domain}', which TensorRT does not know"
        elif entry.version > g.device.opset:
            yield (
                "model",
                f"is of opset {entry.version}, TensorRT {g.device.version} reads up to {g.device.opset}",
            )
        elif entry.version < 13 and any(g.nodes(Q, DQ)):
            yield "model", f"is of opset {entry.version}; per-channel scales came with 13"


def _operators(g: _Graph) -> Iterator[tuple[str, str]]:
    known = OPERATORS | g.device.more
    for node in g.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in known:
            yield node.name, f"{node.op_type} is no operator of TensorRT {g.device.version}"


def _restrictions(g: _Graph) -> Iterator[tuple[str, str]]:
    """What the parser does not take of operators that it knows."""
    for node in g.nodes("MaxPool", "AveragePool"):
        if len([name for name in node.output if name]) > 1:
            yield node.name, f"gives the indices of this {node.op_type}, which TensorRT does not"
        if set(attributes(node).get("dilations", [1])) != {1}:
            yield node.name, f"this {node.op_type} is dilated"
    for node in g.nodes("Resize"):
        mode = attributes(node).get("mode", b"nearest").decode()
        if mode == "cubic" or attributes(node).get("antialias"):
            yield node.name, f"resizes by {'smoothed ' if mode != 'cubic' else ''}{mode} interpolation"


def _static_shapes(g: _Graph) -> Iterator[tuple[str, str]]:
    for value in (*g.graph.input, *g.graph.output):
        dims = value.type.tensor_type.shape.dim
        if not value.type.tensor_type.HasField("shape") or any(not dim.HasField("dim_value") or dim.dim_value < 1
                                                               for dim in dims):  # fmt: skip
            yield value.name, "has a shape that is not fixed"


def _input_types(g: _Graph) -> Iterator[tuple[str, str]]:
    allowed = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.INT32, TensorProto.BOOL}
    if g.device.uint8_inputs:
        allowed.add(TensorProto.UINT8)
    for value in g.graph.input:
        kind = value.type.tensor_type.elem_type
        if kind not in allowed:
            name = TensorProto.DataType.Name(kind).lower()
            yield (
                value.name,
                f"is a network input of type {name}, which TensorRT {g.device.version} does not take",
            )


def _int8_hardware(g: _Graph) -> Iterator[tuple[str, str]]:
    if not g.device.int8:
        for node in g.nodes(Q, DQ):
            yield node.name, "is quantized, and this GPU has no INT8"


def _zero_points(g: _Graph) -> Iterator[tuple[str, str]]:
    for node in g.nodes(Q, DQ):
        if len(node.input) < 3 or not node.input[2]:
            yield node.name, "has no zero point, which makes it unsigned"
            continue
        value = g.values.get(node.input[2])
        if value is None:
            yield node.name, "has a zero point that is no constant"
        elif value.dtype != np.int8:
            yield node.name, f"quantizes to {value.dtype}, TensorRT takes signed INT8 only"
        elif np.any(value):
            yield (
                node.name,
                f"has a zero point of {int(value.ravel()[np.abs(value.ravel()).argmax()])}, not 0",
            )


def _scales(g: _Graph) -> Iterator[tuple[str, str]]:
    for node in g.nodes(Q, DQ):
        value = g.values.get(node.input[1])
        if value is None:
            yield node.name, "has a scale that is no constant"
        elif value.dtype != np.float32 or not np.isfinite(value).all() or not (value > 0).all():
            yield node.name, "has a scale that is not a positive float32"


def _pairs(g: _Graph) -> Iterator[tuple[str, str]]:
    for node in g.nodes(Q):
        takers = g.consumers.get(node.output[0], [])
        for taker in takers:
            if taker.op_type != DQ:
                yield taker.name, f"takes the INT8 of {node.name} with no DequantizeLinear between"
            elif not _same(g, node, taker):
                yield taker.name, f"has another scale or zero point than {node.name} before it"
        if not takers:
            yield node.name, "goes nowhere"
    for node in g.nodes(DQ):
        if g.made_by(node.input[0], Q) is None:
            yield (
                node.name,
                "has no QuantizeLinear before it; weights have to be float32 with Q and DQ behind them",
            )


def _same(g: _Graph, first: onnx.NodeProto, second: onnx.NodeProto) -> bool:
    for i in (1, 2):
        a, b = (g.values.get(node.input[i]) if len(node.input) > i else None for node in (first, second))
        if a is None or b is None or a.shape != b.shape or not np.array_equal(a, b):
            return False
    return True


def _granularity(g: _Graph) -> Iterator[tuple[str, str]]:
    for node in g.nodes(Q):
        scale = g.values.get(node.input[1])
        if scale is None or scale.size <= 1:
            continue
        if node.input[0] not in g.constants:
            yield node.name, "has a scale for each channel of an activation; only weights may"
            continue
        axis = attributes(node).get("axis", 1)
        for dq in g.consumers.get(node.output[0], []):
            for user in g.consumers.get(dq.output[0], []):
                wanted = _WEIGHT_AXIS.get(user.op_type)
                if wanted is not None and axis != wanted:
                    yield node.name, f"has scales along axis {axis}, {user.op_type} wants them along {wanted}"


def _weighted_inputs(g: _Graph) -> Iterator[tuple[str, str]]:
    for node in g.nodes(*_WEIGHTED):
        data, weight = (g.quantized(g.moved_from(name)) for name in node.input[:2])
        if data != weight:
            which, other = ("weight", "input") if data else ("input", "weight")
            yield node.name, f"{node.op_type} has its {other} quantized and its {which} not"


def _biases(g: _Graph) -> Iterator[tuple[str, str]]:
    for node in g.nodes("Conv", "ConvTranspose", "Gemm"):
        if len(node.input) > 2 and node.input[2] and g.quantized(node.input[2]):
            yield node.name, f"the bias of this {node.op_type} is quantized"


def _additions(g: _Graph) -> Iterator[tuple[str, str]]:
    for node in g.nodes("Add"):
        if any(name in g.constants for name in node.input):
            continue
        branches = [g.quantized(name) for name in node.input]
        if branches[0] != branches[1]:
            yield node.name, "one branch of this Add is quantized and the other is not"


def _outputs(g: _Graph) -> Iterator[tuple[str, str]]:
    for value in g.graph.output:
        node = g.made_by(value.name, Q, DQ)
        if node is not None:
            yield node.name, f"quantizes the network's output '{value.name}'"


RULES: dict[str, _Rule] = {
    "opset": _opset,
    "operators": _operators,
    "restrictions": _restrictions,
    "static-shapes": _static_shapes,
    "input-types": _input_types,
    "int8-hardware": _int8_hardware,
    "zero-points": _zero_points,
    "scales": _scales,
    "pairs": _pairs,
    "granularity": _granularity,
    "weighted-inputs": _weighted_inputs,
    "biases": _biases,
    "additions": _additions,
    "outputs": _outputs,
}


def violations(model: onnx.ModelProto, device: TensorRt) -> list[Violation]:
    """Every rule that a network breaks, in the order of `RULES`."""
    graph = _Graph(model, device)
    return [Violation(rule, node, text) for rule, check in RULES.items() for node, text in check(graph)]


def require(model: onnx.ModelProto, device: TensorRt, *, where: str) -> None:
    """Raise TargetError naming the first node that breaks a rule, and how many more there are."""
    found = violations(model, device)
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise TargetError(f"TensorRT {device.version} would not take the network: {found[0]}{more}", where=where,
                          hint="choose another preset or target")  # fmt: skip
