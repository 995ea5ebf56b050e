"""What stands before and behind an imported network: its input from what devices preprocess, its map from its outputs.

Both are small ONNX networks of their own that stay exact; only the imported one is quantized.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_ad.detectors.imported.config import ImportConfig
from edge_ad.detectors.imported.reading import dimensions, opset_of

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma of red, green and blue
OUTPUT = "map"
_KEPT = "edge_1"  # the network's input once more, for heads that compare with it


def make_core(model: onnx.ModelProto, config: ImportConfig) -> onnx.ModelProto:
    """The network itself, its input called `edge_0` and the outputs that the head takes `core_0`, …; others are cut."""
    names = {config.network_input: "edge_0"} | {name: f"core_{i}" for i, name in enumerate(config.outputs)}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    # Names inside that happen to be the same give way.
    taken = {name: f"inner_{name}" for name in names.values() if name not in names}
    renames = {**taken, **names}
    for node in graph.node:
        node.input[:] = [renames.get(name, name) for name in node.input]
        node.output[:] = [renames.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = renames.get(value.name, value.name)
    kept = {output.name: output for output in graph.output}
    del graph.output[:]
    graph.output.extend(kept[f"core_{i}"] for i in range(len(config.outputs)))
    fixed = {tensor.name for tensor in graph.initializer}
    inputs = [
        value for value in graph.input if value.name not in fixed
    ]  # older files list their weights, too
    del graph.input[:]
    graph.input.extend(inputs)
    return made


def make_front(config: ImportConfig, opset: int) -> onnx.ModelProto:
    """From a preprocessed input, (1, 3, h, w) uint8 or (1, C, L) float32, to the network's."""
    shape = list(config.input.shape)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def add(kind: str, value: str, *constants: npt.NDArray[np.generic], **attributes: object) -> str:
        names = []
        for constant in constants:
            names.append(f"c{len(weights)}")
            weights.append(numpy_helper.from_array(constant, names[-1]))
        nodes.append(
            helper.make_node(kind, [value, *names], [f"v{len(nodes)}"], name=f"n{len(nodes)}", **attributes)
        )
        return str(nodes[-1].output[0])

    value = config.input.name
    if config.input.dtype != "float32":
        value = add("Cast", value, to=TensorProto.FLOAT)
    channels = len(config.gain)
    if config.input.modality == "image" and channels == 1:
        value = add("Conv", value, np.array(GREY, np.float32).reshape(1, 3, 1, 1))
    elif config.bgr:
        value = add("Gather", value, np.array([2, 1, 0], np.int64), axis=1)
    ones = (1, channels) + (1,) * (len(shape) - 2)
    value = add("Mul", value, np.array(config.gain, np.float32).reshape(ones))
    value = add("Add", value, np.array(config.offset, np.float32).reshape(ones))
    if config.layout in ("nhwc", "nlc"):
        value = add("Transpose", value, perm=[0, *range(2, len(shape)), 1])
    nodes[-1].output[0] = "edge_0"
    outputs = ["edge_0"]
    if _compares_input(config):
        nodes.append(helper.make_node("Identity", ["edge_0"], [_KEPT], name="keep"))
        outputs.append(_KEPT)
    given = TensorProto.UINT8 if config.input.dtype == "uint8" else TensorProto.FLOAT
    return _model(
        nodes,
        [helper.make_tensor_value_info(config.input.name, given, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(config.shape)) for name in outputs],
        weights,
        opset,
    )


def make_tail(core: onnx.ModelProto, config: ImportConfig) -> onnx.ModelProto:
    """From the network's outputs to a map (1, 1, h, w), whose largest value is the score."""
    shapes = [[int(d or 1) for d in dimensions(output)] for output in core.graph.output]
    opset = opset_of(core)
    names = [f"core_{i}" for i in range(len(shapes))]
    if _compares_input(config):
        names.append(_KEPT)
        shapes.append(list(config.shape))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(names, shapes, strict=True)
    ]
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    if config.head in ("mse", "channel-mse"):
        nodes.append(helper.make_node("Sub", names, ["difference"], name="difference"))
        nodes.append(helper.make_node("Mul", ["difference", "difference"], ["squared"], name="squared"))
        axes = mean_axes(config, len(shapes[0]))
        if opset >= 18:
            weights.append(numpy_helper.from_array(np.array(axes, np.int64), "axes"))
            nodes.append(
                helper.make_node("ReduceMean", ["squared", "axes"], ["mean"], name="mean", keepdims=1)
            )
        else:
            nodes.append(
                helper.make_node("ReduceMean", ["squared"], ["mean"], name="mean", axes=axes, keepdims=1)
            )
        value = "mean"
    else:
        value = names[0]
    size = map_size(config, shapes[0])
    weights.append(numpy_helper.from_array(np.array([1, 1, *size], np.int64), "size"))
    nodes.append(helper.make_node("Reshape", [value, "size"], [OUTPUT], name="map"))
    outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, 1, *size])]
    return _model(nodes, inputs, outputs, weights, opset)


def mean_axes(config: ImportConfig, rank: int) -> list[int]:
    """What the mean is taken over: everything, or the channels."""
    if config.head == "mse":
        return list(range(1, rank))
    return [rank - 1] if config.layout in ("nhwc", "nlc") else [1]


def map_size(config: ImportConfig, shape: list[int]) -> tuple[int, int]:
    """Height and width of the map that comes of an output of this shape."""
    if config.head == "mse" or config.head == "value":
        return 1, 1
    if config.head == "channel-mse":
        places = shape[1:-1] if config.layout in ("nhwc", "nlc") else shape[2:]
    else:
        places = [size for size in shape if size != 1]
    return (1, 1) if not places else (1, places[0]) if len(places) == 1 else (places[0], places[1])


def _compares_input(config: ImportConfig) -> bool:
    return config.head == "mse" or (config.head == "channel-mse" and len(config.outputs) == 1)


def _model(
    nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto],
    weights: list[onnx.TensorProto], opset: int,
) -> onnx.ModelProto:  # fmt: skip
    graph = helper.make_graph(nodes, "stage", inputs, outputs, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made)
    return made
