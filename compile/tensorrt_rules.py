"""TensorRT's rules for explicitly quantized ONNX files, held on the file that was made.

After NVIDIA's TensorRT Developer Guide, "Working with Quantized Types: Explicit Quantization" and "Q/DQ placement
recommendations", and the operator tables of its ONNX parser. What breaks a rule is named with its node, since TensorRT
itself would build an engine that is slow or inexact, or would fail on the device with a message about its insides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from edge_ad.compile.onnx_graphs import attributes
from edge_ad.compile.tensorrt_graph import DQ, MOVES, OPERATORS, Graph, Q, TensorRt
from edge_ad.errors import TargetError

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Violation:
    """One rule that is broken, and where. rule: its name, as in `RULES`."""

    rule: str
    node: str
    text: str

    def __str__(self) -> str:
        return f"{self.node}: {self.text} ({self.rule})"


_COMMUTES = (
    "Concat",
    "MaxPool",
    "Pad",
    "Resize",
    "Slice",
    "Split",
)  # TensorRT runs them in INT8 between Q and DQ
_Rule = Callable[[Graph], Iterator[tuple[str, str]]]


def _opset(g: Graph) -> Iterator[tuple[str, str]]:
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


def _operators(g: Graph) -> Iterator[tuple[str, str]]:
    known = OPERATORS | g.device.more
    for node in g.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in known:
            yield node.name, f"{node.op_type} is no operator of TensorRT {g.device.version}"


def _static_shapes(g: Graph) -> Iterator[tuple[str, str]]:
    for value in (*g.graph.input, *g.graph.output):
        dims = value.type.tensor_type.shape.dim
        if not value.type.tensor_type.HasField("shape") or any(not dim.HasField("dim_value") or dim.dim_value < 1
                                                               for dim in dims):  # fmt: skip
            yield value.name, "has a shape that is not fixed"


def _input_types(g: Graph) -> Iterator[tuple[str, str]]:
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


def _int8_hardware(g: Graph) -> Iterator[tuple[str, str]]:
    if not g.device.int8:
        for node in g.nodes(Q, DQ):
            yield node.name, "is quantized, and this GPU has no INT8"


def _zero_points(g: Graph) -> Iterator[tuple[str, str]]:
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


def _scales(g: Graph) -> Iterator[tuple[str, str]]:
    for node in g.nodes(Q, DQ):
        value = g.values.get(node.input[1])
        if value is None:
            yield node.name, "has a scale that is no constant"
        elif value.dtype != np.float32 or not np.isfinite(value).all() or not (value > 0).all():
            yield node.name, "has a scale that is not a positive float32"


def _pairs(g: Graph) -> Iterator[tuple[str, str]]:
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


def _same(g: Graph, first: onnx.NodeProto, second: onnx.NodeProto) -> bool:
    for i in (1, 2):
        a, b = (g.values.get(node.input[i]) if len(node.input) > i else None for node in (first, second))
        if a is None or b is None or a.shape != b.shape or not np.array_equal(a, b):
            return False
    return True


def _granularity(g: Graph) -> Iterator[tuple[str, str]]:
    for node in g.nodes(Q):
        scale = g.values.get(node.input[1])
        if scale is None:
            continue
        if node.input[0] not in g.constants:
            if scale.size > 1:
                yield node.name, "has a scale for each channel of an activation; only weights may"
            continue
        weight = g.values.get(node.input[0])
        users = [
            user for dq in g.consumers.get(node.output[0], []) for user in g.consumers.get(dq.output[0], [])
        ]
        for user in users:
            if weight is not None and user.op_type in _WEIGHTED:
                yield from ((node.name, text) for text in _weight_scales(node, user, weight.shape, scale))


def _weight_scales(
    q: onnx.NodeProto, user: onnx.NodeProto, shape: tuple[int, ...], scale: np.ndarray
) -> Iterator[str]:
    """What is wrong with a weight's scales: there is one for each output channel."""
    wanted = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0 if attributes(user).get("transB", 0) else 1}.get(
        user.op_type, len(shape) - 1
    )
    axis = attributes(q).get("axis", 1) % len(shape)
    if scale.size == 1 and shape[wanted] > 1:
        yield f"has one scale for all {shape[wanted]} channels of this {user.op_type}'s weight"
    elif scale.size > 1 and axis != wanted:
        yield f"has scales along axis {axis}, {user.op_type} wants them along {wanted}"
    elif scale.size != shape[wanted]:
        yield f"has {scale.size} scales for {shape[wanted]} channels"


def _weighted_inputs(g: Graph) -> Iterator[tuple[str, str]]:
    for node in g.nodes(*_WEIGHTED):
        data, weight = (g.quantized(g.moved_from(name)) for name in node.input[:2])
        if data != weight:
            which, other = ("weight", "input") if data else ("input", "weight")
            yield node.name, f"{node.op_type} has its {other} quantized and its {which} not"


def _biases(g: Graph) -> Iterator[tuple[str, str]]:
    for node in g.nodes("Conv", "ConvTranspose", "Gemm"):
        if len(node.input) > 2 and node.input[2] and g.quantized(node.input[2]):
            yield node.name, f"the bias of this {node.op_type} is quantized"


def _additions(g: Graph) -> Iterator[tuple[str, str]]:
    for node in g.nodes("Add"):
        if any(name in g.constants for name in node.input):
            continue
        branches = [g.quantized(name) for name in node.input]
        if branches[0] != branches[1]:
            yield node.name, "one branch of this Add is quantized and the other is not"


def _placement(g: Graph) -> Iterator[tuple[str, str]]:
    """Q and DQ stand on the inputs of what computes in INT8, not on the outputs of what did."""
    for node in g.nodes(DQ):
        if not any(
            _leads_to_int8(g, user) for user in g.consumers.get(node.output[0], [])
        ) and not _is_output(g, node):
            yield node.name, "quantizes what no weighted operator and no Add takes"


def _leads_to_int8(g: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type in (*_WEIGHTED, "Add"):
        return True
    return node.op_type in (*MOVES, *_COMMUTES) and any(
        _leads_to_int8(g, user) for output in node.output for user in g.consumers.get(output, [])
    )


def _is_output(g: Graph, node: onnx.NodeProto) -> bool:
    """Whether that breaks the rule of the outputs already."""
    return any(value.name in node.output for value in g.graph.output)


def _outputs(g: Graph) -> Iterator[tuple[str, str]]:
    for value in g.graph.output:
        node = g.made_by(value.name, Q, DQ)
        if node is not None:
            yield node.name, f"quantizes the network's output '{value.name}'"


RULES: dict[str, _Rule] = {
    "opset": _opset,
    "operators": _operators,
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
    "placement": _placement,
    "outputs": _outputs,
}


def violations(model: onnx.ModelProto, device: TensorRt) -> list[Violation]:
    """Every rule that a network breaks, in the order of `RULES`."""
    graph = Graph(model, device)
    return [Violation(rule, node, text) for rule, check in RULES.items() for node, text in check(graph)]


def require(model: onnx.ModelProto, device: TensorRt, *, where: str) -> None:
    """Raise TargetError naming the first node that breaks a rule, and how many more there are."""
    found = violations(model, device)
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise TargetError(f"TensorRT {device.version} would not take the network: {found[0]}{more}", where=where,
                          hint="choose another preset or target")  # fmt: skip
