"""Bringing an ONNX network to an older opset, for devices whose parsers read no newer one.

onnx's own converter has no way down for operators that changed in nothing but types (Relu, Shape), and leaves others
that no checker passes (ReduceMean). Here an operator that is not there yet is written out as the standard defines it;
one that changed is said in its older form where that is the same; whatever else is refused by name. The parity check of
a compile holds the outcome to the network as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, inliner, numpy_helper, shape_inference

from edge_ad.bundle.names import shown
from edge_ad.compile.onnx_graphs import attributes, folded
from edge_ad.detectors.imported.graphs import dimensions, every_node, keep_needed, name_nodes, opset_of
from edge_ad.errors import TargetError

# Those that newer opsets gave more types, and perhaps attributes whose default says what was meant before.
_NAMES = """
Acos Acosh Add Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike Celu Constant ConstantOfShape Conv
ConvTranspose Cos Cosh CumSum DeformConv DepthToSpace Det Div Dropout Einsum Elu Equal EyeLike Flatten GRU
GlobalAveragePool GlobalLpPool GlobalMaxPool GreaterOrEqual GridSample HardSigmoid HardSwish Identity If
InstanceNormalization IsInf IsNaN LSTM LeakyRelu LessOrEqual Loop LpNormalization LpPool MaxPool MaxRoiPool
MaxUnpool Mish Mod Mul OneHot PRelu Pad Pow RNN Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
ReduceMean ReduceMin ReduceProd ReduceSumSquare Relu Reshape Resize ReverseSequence Round Scan ScatterElements
ScatterND Selu Shape Sin Sinh Size Softplus Softsign SpaceToDepth Split Squeeze Sub Tan ThresholdedRelu TopK
Transpose Unsqueeze Where
"""
_SAME = frozenset(_NAMES.split())
_REDUCTIONS = tuple(name for name in _SAME if name.startswith("Reduce"))


def at_most(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The network in an opset that is not newer; itself where it is none.

    Each node has a name and each shape is static. Raises TargetError naming the node that cannot be said in it.
    """
    found = opset_of(model)
    if found <= opset:
        return model
    made = _written_out(model, opset)
    around = _Around.of(made)
    for node in every_node(made.graph):
        _older(node, found, opset, around)
    made.graph.initializer.extend(around.added)
    keep_needed(made.graph, [output.name for output in made.graph.output])
    for entry in made.opset_import:
        entry.version = opset
    try:
        onnx.checker.check_model(made, full_check=True)
    except Exception as error:  # the checker's and the shape inference's errors share no base class
        cause = shown(str(error).strip().splitlines()[0])
        raise TargetError(f"the network cannot be said in opset {opset} ({cause})") from error
    return made


def _written_out(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The network with operators that the opset lacks as what the standard says that they are, folded again."""
    found = opset_of(model)
    missing = {node.op_type for node in every_node(model.graph) if not _is_there(node.op_type, found, opset)}
    if not missing:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    made = shape_inference.infer_shapes(model, data_prop=True)
    for tensor in made.graph.initializer:  # the inliner asks for types as values only
        made.graph.value_info.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    made = inliner.inline_selected_functions(
        made, [("", name) for name in sorted(missing)], inline_schema_functions=True
    )
    made = folded(made.SerializeToString())
    name_nodes(made.graph)
    for node in every_node(made.graph):
        if node.op_type == "CastLike":
            _cast(node, made)
        if not _is_there(node.op_type, found, opset):
            since = onnx.defs.get_schema(node.op_type, found).since_version
            raise TargetError(
                f"node {shown(node.name)}: {node.op_type} came with opset {since}, the target reads up to {opset}",
                hint="take another target, or export the network without it",
            )
    return made


def _is_there(kind: str, found: int, opset: int) -> bool:
    """Whether `opset` has an operator of opset `found`, with the same meaning."""
    try:
        then = onnx.defs.get_schema(kind, opset)
    except onnx.defs.SchemaError:
        return False
    return kind in _SAME or then.since_version == onnx.defs.get_schema(kind, found).since_version


def _cast(node: onnx.NodeProto, model: onnx.ModelProto) -> None:
    """CastLike as Cast to the type that its second input has."""
    graph = shape_inference.infer_shapes(model).graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    kind = types.get(node.input[1])
    if kind:
        node.op_type = "Cast"
        del node.input[1:]
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("to", kind))


@dataclass
class _Around:
    """What a node's older form may need of its network. added: further weights."""

    values: dict[str, np.ndarray]
    shapes: dict[str, list[int | None]]
    added: list[onnx.TensorProto] = field(default_factory=list)

    @classmethod
    def of(cls, model: onnx.ModelProto) -> _Around:
        """Constants and shapes of a network."""
        values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and "value" in attributes(node):
                values[node.output[0]] = numpy_helper.to_array(attributes(node)["value"])
        graph = shape_inference.infer_shapes(model, data_prop=True).graph
        shapes = {value.name: dimensions(value) for value in (*graph.input, *graph.value_info, *graph.output)}
        return cls(values, shapes)

    def shape(self, node: onnx.NodeProto) -> list[int]:
        """Of a node's first input."""
        shape = self.shapes.get(node.input[0], [None])
        if None in shape:
            raise TargetError(f"the shape of what node {shown(node.name)} takes is not known")
        return [int(size or 0) for size in shape]

    def constant(self, node: onnx.NodeProto, place: int) -> list[int] | None:
        """The numbers of an input; None where there is none. Raises TargetError for one that is no constant."""
        if place >= len(node.input) or not node.input[place]:
            return None
        value = self.values.get(node.input[place])
        if value is None:
            raise TargetError(
                f"node {shown(node.name)}: input {place} of this {node.op_type} is no constant, as older opsets want it"
            )
        return [int(v) for v in value.ravel()]

    def add(self, numbers: list[int]) -> str:
        """A further constant; its name."""
        name = f"older_{len(self.added)}"
        self.added.append(numpy_helper.from_array(np.array(numbers, np.int64), name))
        return name


def _older(node: onnx.NodeProto, found: int, opset: int, around: _Around) -> None:
    """Say a node of opset `found` in `opset`."""
    now, then = (onnx.defs.get_schema(node.op_type, version) for version in (found, opset))
    if now.since_version == then.since_version:
        return
    if (change := _CHANGES.get(node.op_type)) is not None:
        change(node, then, around)
    for attribute in list(node.attribute):
        if attribute.name not in then.attributes:
            default = now.attributes[attribute.name].default_value
            if helper.get_attribute_value(attribute) != _default(default):
                raise _refused(node, opset, f"has no {attribute.name} there")
            node.attribute.remove(attribute)
    while node.input and not node.input[-1]:
        del node.input[-1]
    if len(node.input) > then.max_input:
        raise _refused(node, opset, f"takes {then.max_input} inputs there")


def _default(attribute: onnx.AttributeProto) -> object:
    return helper.get_attribute_value(attribute) if attribute.type else None


def _refused(node: onnx.NodeProto, opset: int, why: str) -> TargetError:
    return TargetError(
        f"node {shown(node.name)}: this {node.op_type} is newer than opset {opset}, which the target reads, and {why}",
        hint="take another target, or export the network in an older opset",
    )


def _drop(node: onnx.NodeProto, name: str) -> None:
    for attribute in list(node.attribute):
        if attribute.name == name:
            node.attribute.remove(attribute)


def _reduction(node: onnx.NodeProto, then: onnx.defs.OpSchema, around: _Around) -> None:
    """Axes were an attribute before 18."""
    if "axes" not in then.attributes:
        return
    axes = around.constant(node, 1)
    if axes:  # without any, noop_with_empty_axes means what older ones have no word for
        _drop(node, "noop_with_empty_axes")
        node.attribute.append(helper.make_attribute("axes", axes))
    del node.input[1:]


def _split(node: onnx.NodeProto, then: onnx.defs.OpSchema, around: _Around) -> None:
    """Before 18 parts of equal size, the last one smaller, were written out."""
    if "num_outputs" in then.attributes or "num_outputs" not in attributes(node):
        return
    shape, given = around.shape(node), attributes(node)
    whole, parts = shape[given.get("axis", 0)], given["num_outputs"]
    size = -(-whole // parts)
    _drop(node, "num_outputs")
    del node.input[1:]
    node.input.append(around.add([*([size] * (parts - 1)), whole - size * (parts - 1)]))


def _pad(node: onnx.NodeProto, then: onnx.defs.OpSchema, around: _Around) -> None:
    """Before 18 every axis had its pads."""
    axes, pads = around.constant(node, 3), around.constant(node, 1)
    if axes is None or then.max_input > 3:
        return
    assert pads is not None
    rank = len(around.shape(node))
    full = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        full[axis % rank], full[rank + axis % rank] = pads[i], pads[len(axes) + i]
    del node.input[3:]
    node.input[1] = around.add(full)


def _reshape(node: onnx.NodeProto, then: onnx.defs.OpSchema, around: _Around) -> None:
    """What zeros mean is of no account where there are none."""
    if "allowzero" not in then.attributes and 0 not in (around.constant(node, 1) or [0]):
        _drop(node, "allowzero")


def _pool(node: onnx.NodeProto, then: onnx.defs.OpSchema, around: _Around) -> None:
    """Dilations of 1 are none."""
    if "dilations" not in then.attributes and set(attributes(node).get("dilations", [])) == {1}:
        _drop(node, "dilations")


def _grid_sample(node: onnx.NodeProto, then: onnx.defs.OpSchema, around: _Around) -> None:
    """Modes were called for images before 20."""
    older = {b"linear": "bilinear", b"cubic": "bicubic"}
    if then.since_version < 20:
        mode = older.get(attributes(node).get("mode", b"linear"), "nearest")
        _drop(node, "mode")
        node.attribute.append(helper.make_attribute("mode", mode))


_Change = Callable[[onnx.NodeProto, onnx.defs.OpSchema, _Around], None]
_CHANGES: dict[str, _Change] = {
    **dict.fromkeys(_REDUCTIONS, _reduction),
    "Split": _split,
    "Pad": _pad,
    "Reshape": _reshape,
    "AveragePool": _pool,
    "LpPool": _pool,
    "GridSample": _grid_sample,
}
