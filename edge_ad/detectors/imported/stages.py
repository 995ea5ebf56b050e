"""What stands before and behind an imported network: its input from what devices preprocess, its map from its outputs.

Both are small ONNX networks of their own that stay exact; only the imported one is quantized.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_ad.detectors.imported.config import CHANNELS_LAST, ImportConfig
from edge_ad.detectors.imported.graphs import dimensions, keep_needed, opset_of, rename, tensor_names
from edge_ad.detectors.imported.reading import IR_VERSION

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma of red, green and blue
OUTPUT = "map"
CORE_INPUT = "edge_0"
KEPT = "edge_1"  # the network's input once more, for what compares with it


def core_names(model: onnx.ModelProto, config: ImportConfig) -> dict[str, str]:
    """What the tensors of a network are called in its core: `edge_0` its input, `core_0`, … the outputs that the head
    takes, and `net/…` all others, which then are like none of another stage's."""
    names = {name: f"net/{name}" for name in tensor_names(model.graph)}
    return (
        names
        | {config.network_input: CORE_INPUT}
        | {name: f"core_{i}" for i, name in enumerate(config.outputs)}
    )


def make_core(model: onnx.ModelProto, config: ImportConfig) -> onnx.ModelProto:
    """The network itself, as far as the outputs that the head takes need it."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    keep_needed(made.graph, config.outputs)
    outputs = {output.name: output for output in model.graph.output}
    del made.graph.output[:], made.graph.value_info[:]
    made.graph.output.extend(outputs[name] for name in config.outputs)
    rename(made.graph, core_names(model, config))
    made.ir_version = IR_VERSION
    return made


def make_front(config: ImportConfig, opset: int) -> onnx.ModelProto:
    """From a preprocessed input, (1, 3, h, w) uint8 or (1, C, L) float32, to the network's, twice."""
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
    if config.layout in CHANNELS_LAST:
        value = add("Transpose", value, perm=[0, *range(2, len(shape)), 1])
    elif config.layout == "nc":
        value = add("Reshape", value, np.array(config.shape, np.int64))
    nodes[-1].output[0] = CORE_INPUT
    nodes.append(helper.make_node("Identity", [CORE_INPUT], [KEPT], name="keep"))
    given = TensorProto.UINT8 if config.input.dtype == "uint8" else TensorProto.FLOAT
    return _model(
        nodes,
        [helper.make_tensor_value_info(config.input.name, given, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, list(config.shape))
            for name in (CORE_INPUT, KEPT)
        ],
        weights,
        opset,
    )


def make_tail(core: onnx.ModelProto, config: ImportConfig) -> onnx.ModelProto:
    """From the network's outputs, and its input for heads that compare with it, to a map (1, 1, h, w), whose largest
    value is the score."""
    shapes = [[int(d or 1) for d in dimensions(output)] for output in core.graph.output]
    names = [f"core_{i}" for i in range(len(shapes))]
    if config.head == "mse" or (config.head == "channel-mse" and len(names) == 1):
        names.append(KEPT)
        shapes.append(list(config.shape))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(names, shapes, strict=True)
    ]
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    value = names[0]
    if len(names) == 2:
        nodes.append(helper.make_node("Sub", names, ["difference"], name="difference"))
        nodes.append(helper.make_node("Mul", ["difference", "difference"], ["squared"], name="squared"))
        value = "mean"
        axes = mean_axes(config, len(shapes[0]))
        if opset_of(core) >= 18:
            weights.append(numpy_helper.from_array(np.array(axes, np.int64), "axes"))
            mean = helper.make_node("ReduceMean", ["squared", "axes"], [value], name="mean", keepdims=1)
        else:
            mean = helper.make_node("ReduceMean", ["squared"], [value], name="mean", axes=axes, keepdims=1)
        nodes.append(mean)
    size = map_size(config, shapes[0])
    weights.append(numpy_helper.from_array(np.array([1, 1, *size], np.int64), "size"))
    nodes.append(helper.make_node("Reshape", [value, "size"], [OUTPUT], name="map"))
    outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, 1, *size])]
    return _model(nodes, inputs, outputs, weights, opset_of(core))


def mean_axes(config: ImportConfig, rank: int) -> list[int]:
    """What the mean is taken over: everything, or the channels."""
    if config.head == "mse":
        return list(range(1, rank))
    return [rank - 1] if config.layout in CHANNELS_LAST else [1]


def map_size(config: ImportConfig, shape: list[int]) -> tuple[int, int]:
    """Height and width of the map that is made of outputs of this shape; a single place where there is none."""
    if config.head in ("mse", "value"):
        return 1, 1
    if config.head == "channel-mse":
        places = shape[1:-1] if config.layout in CHANNELS_LAST else shape[2:]
    else:
        places = map_places(shape, channels_last=config.layout in CHANNELS_LAST)
    height, width = [1, 1, *places][-2:]
    return height, width


def map_places(shape: list[int], *, channels_last: bool) -> list[int]:
    """The dimensions of an anomaly map, without batch and channel: at most two where it is one."""
    places = shape[1:] if shape[:1] == [1] else list(shape)
    while len(places) > 2 and 1 in places:
        where = len(places) - 1 if channels_last and places[-1] == 1 else places.index(1)
        del places[where]
    return places


def _model(
    nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto],
    weights: list[onnx.TensorProto], opset: int,
) -> onnx.ModelProto:  # fmt: skip
    graph = helper.make_graph(nodes, "stage", inputs, outputs, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)
    onnx.checker.check_model(made)
    return made
