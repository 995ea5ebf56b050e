"""Layers of OpenVINO networks: called by their names, and given back their float32 inputs and weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx

from edge_ad.compile.layers import Kind, nodes_of
from edge_ad.errors import TargetError

WEIGHTED = (
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
    "MatMul",
)
# What only moves values, so that they stay on the grid that they are on.
MOVES = ("Concat", "Pad", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "Slice", "StridedSlice")
# What costs little and stands between a layer and the one before it: it goes along with a layer that is kept.
_LIGHT = (*MOVES, "MaxPool", "AvgPool", "Interpolate", "Relu", "ReLU", "PRelu", "Clamp")
_BEHIND = (
    4  # operators that an import may put between a weighted one and the node's output: bias, normalisation
)


def name_layers(model: Any, content: bytes) -> None:
    """Call each layer of an imported network as its ONNX node is called.

    The import gives the node's name to the last operator that it makes of it, the weighted one is found from there.
    """
    nodes = {
        node.output[0]: (node.name, kind) for node, kind in nodes_of(onnx.load_from_string(content).graph)
    }
    found = {}
    for op in model.get_ordered_ops():
        if _is_layer(op) and (name := _node_of(op, nodes)) is not None:
            found[name] = op
    for op in model.get_ordered_ops():
        if op.get_friendly_name() in found:
            op.set_friendly_name(f"{op.get_friendly_name()}/output")
    for name, op in found.items():
        op.set_friendly_name(name)


def _is_layer(op: Any) -> bool:
    return op.get_type_name() in (*WEIGHTED, "Add")


def _node_of(op: Any, nodes: Mapping[str, tuple[str, Kind]]) -> str | None:
    """The ONNX node that a layer came from, by the tensor that it ends in."""
    summing = op.get_type_name() == "Add"
    for _ in range(1 if summing else _BEHIND):
        for tensor in op.output(0).get_names():
            name, kind = nodes.get(tensor, ("", None))
            if kind is not None:
                return name if (kind == "Sum") == summing else None
        takers = [taker.get_node() for taker in op.output(0).get_target_inputs()]
        if len(takers) != 1 or takers[0].get_type_name() in WEIGHTED:
            return None
        op = takers[0]
    return None


def float_again(quantized: Any, original: Any, names: Collection[str]) -> Any:
    """A copy of a quantized network whose layers `names` take their inputs as they are made and have the weights of
    `original`, the float network of the same names; all other layers stay as they were quantized.

    Pooling, resizing and moves between the layer before and one of `names` are undone with it. Raises TargetError for
    a layer that is not found.
    """
    model = quantized.clone()
    weights = {op.get_friendly_name(): op for op in original.get_ordered_ops() if _is_layer(op)}
    layers = {op.get_friendly_name(): op for op in model.get_ordered_ops() if _is_layer(op)}
    for name in sorted(names):
        if name not in layers or name not in weights:
            raise TargetError(f"OpenVINO has merged the layer '{name}' into another", where="openvino-cpu",
                              hint="keep that one, or the module around both")  # fmt: skip
        for i in (0, 1):
            constant = _constant(weights[name].input_value(i))
            layers[name].input(i).replace_source_output(
                _unrounded(layers[name].input_value(i)) if constant is None else constant
            )
    model.validate_nodes_and_infer_types()
    return model


def _unrounded(output: Any) -> Any:
    """Where a value comes from when nothing light between rounds it; what else reads those operators is untouched."""
    from openvino.utils.node_factory import NodeFactory

    op = output.get_node()
    if op.get_type_name() == "FakeQuantize":
        return _unrounded(op.input_value(0))
    if op.get_type_name() not in _LIGHT:
        return output
    sources = [op.input_value(i) for i in range(op.get_input_size())]
    free = [_unrounded(source) for source in sources]
    if all(a == b for a, b in zip(sources, free, strict=True)):
        return output
    made = NodeFactory("opset13").create(op.get_type_name(), free, op.get_attributes())
    return made.output(output.get_index())


def _constant(output: Any) -> Any | None:
    """A copy of a constant, None for what is none."""
    from openvino import opset13

    op = output.get_node()
    return opset13.constant(np.array(op.data)).output(0) if op.get_type_name() == "Constant" else None
