"""What an ONNX network costs, after the manner of `cost.count`: one that OpenVINO lacks an operator for costs, too."""

from __future__ import annotations

from math import prod

import onnx
from onnx import shape_inference

from edge_ad.compile.cost import Cost
from edge_ad.compile.onnx_graphs import attributes, constants
from edge_ad.detectors.imported.graphs import dimensions, needs

_FOLLOWS_IN_PLACE = ("Add", "Relu", "Mul", "Cast", "Pow", "Reshape", "Flatten", "Identity", "Sub")
_FLOAT_BYTES = 4
_COUNTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")

Shapes = dict[str, list[int]]


def count(model: onnx.ModelProto) -> Cost:
    """Cost of a float network with static shapes: recurrent layers counted, the graphs inside of others not.

    Activations are counted where an engine has to store them: after the elementwise operators that it fuses into their
    producer.
    """
    fixed = constants(model.graph)
    shapes = _shapes(model)
    macs = parameters = 0
    for node in model.graph.node:
        if fixed.issuperset(node.output):
            continue
        weights = [prod(shapes.get(name, [0])) for name in node.input if name in fixed]
        if node.op_type in ("LSTM", "GRU", "RNN"):
            macs += shapes.get(node.input[0], [0])[0] * sum(weights[:2])
        elif node.op_type in _COUNTED:
            macs += _macs(node, shapes)
        elif node.op_type != "Add":
            continue
        parameters += sum(weights)
    return Cost(macs, parameters, _peak_bytes(model, fixed, shapes))


def work_by_node(model: onnx.ModelProto) -> dict[str, int]:
    """Multiply-accumulates of each convolution and matrix product, additions of each Add, by the node's name."""
    shapes = _shapes(model)
    macs = {node.name: _macs(node, shapes) for node in model.graph.node if node.op_type in _COUNTED}
    return macs | {
        node.name: prod(shapes.get(node.output[0], [0])) for node in model.graph.node if node.op_type == "Add"
    }


def _macs(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Of one of `_COUNTED`."""
    data, weight = (shapes.get(name, [0]) for name in node.input[:2])
    if node.op_type in ("Conv", "ConvTranspose"):
        of = node.output[0] if node.op_type == "Conv" else node.input[0]
        return prod(shapes.get(of, [0])) * prod(weight[1:])
    return prod(shapes.get(node.output[0], [0])) * data[-2 if attributes(node).get("transA") else -1]


def _shapes(model: onnx.ModelProto) -> Shapes:
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    found = {
        value.name: [size or 1 for size in dimensions(value)]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    return found | {tensor.name: list(tensor.dims) for tensor in graph.initializer}


def _peak_bytes(model: onnx.ModelProto, fixed: set[str], shapes: Shapes) -> int:
    """Sweep the operators in order, freeing each stored tensor after its last reader."""
    readers: dict[str, int] = {}
    for node in model.graph.node:
        for name in needs(node):
            readers[name] = readers.get(name, 0) + 1
    owner = {
        value.name: value.name for value in model.graph.input
    }  # tensor -> the one that it is written into
    born = dict.fromkeys(owner, 0)
    last_read = dict.fromkeys(owner, 0)
    for step, node in enumerate(model.graph.node, start=1):
        live = [owner[name] for name in needs(node) if name in owner]
        last_read.update(dict.fromkeys(live, step))
        single = len(live) == 1 and node.op_type in _FOLLOWS_IN_PLACE and readers[node.input[0]] == 1
        for name in node.output:
            if not name or name in fixed:
                continue
            owner[name] = live[0] if single else name
            born.setdefault(owner[name], step)
            last_read[owner[name]] = step
    bytes_of = {name: _FLOAT_BYTES * prod(shapes.get(name, [0])) for name in born}
    alive = [
        sum(bytes_of[name] for name in born if born[name] <= step <= last_read[name])
        for step in set(born.values())
    ]
    return max(alive)
