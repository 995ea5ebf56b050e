"""What detectors of images share on a board: pixels in, and int16 out of the accumulator of the last convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.detectors.material import Material
from edge_ad.compile.integer.draft import Draft
from edge_ad.compile.integer.graph import Graph, Node, Tensor
from edge_ad.compile.integer.operators.convolution import LIMITS, PADS, padding
from edge_ad.compile.integer.operators.weights import effective_scales
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.compile.target import Calibration
from edge_ad.errors import TargetError
from edge_ad.firmware_bridge.port_spec import Array, PortSpec
from edge_ad.runtime.integer.convolution import LIMIT, convolution_int16

TO_CHANNELS_LAST, TO_CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
PIXEL_ZERO = -128  # the INT8 value of a black pixel: a step of the network's input is a step of the pixel


def of_its_size(material: Material) -> Material:
    """With calibration images of the detector's own size, which they are unless it is a preset that is only tried."""
    shape = material.captured.input.shape

    def batches() -> Iterator[Array]:
        for batch in material.calibration.batches():
            rows, columns = (np.arange(n) * batch.shape[2 + i] // n for i, n in enumerate(shape[2:]))
            yield batch if batch.shape[2:] == shape[2:] else batch[:, :, rows][:, :, :, columns]

    return replace(material, calibration=Calibration(batches, material.calibration.count))


def image_port(shape: tuple[int, ...]) -> PortSpec:
    """An image (1, 3, height, width) as it is."""
    return PortSpec(shape, "uint8", 1.0, 0)


def takes_pixels(draft: Draft, graph: Graph, image: int, features: int) -> None:
    """Let the graph's nodes read `features`, pixels (1, height, width, 3), where it transposed its input.

    Raises TargetError for a graph whose input is not pixels, or is not transposed first.
    """
    (given,) = graph.inputs
    tensor = graph.tensors[given]
    if tensor.scale != 1.0 or tensor.zero_point != PIXEL_ZERO:
        raise TargetError(f"the network's input has steps of {tensor.scale:g}, not of a pixel's")
    readers = [node for node in draft.nodes if given in node.inputs]
    first = [node for node in readers if _order(graph, node) == TO_CHANNELS_LAST]
    if len(first) != 1 or len(readers) != 1:
        raise TargetError(
            "the network's first operator is not the one that puts channels last", where=str(readers[0])
        )
    draft.nodes.remove(first[0])
    draft.read_instead(first[0].outputs[0], features)


def convolution_behind(draft: Draft, graph: Graph, output: int) -> Node:
    """The convolution whose result, channels put first, is tensor `output`; the node in between is taken away.

    Raises TargetError for an output of another kind.
    """
    last = _writer(draft, output)
    if _order(graph, last) == TO_CHANNELS_FIRST:
        draft.nodes.remove(last)
        last = _writer(draft, last.inputs[0])
    if last.kind != "CONV_2D":
        raise TargetError("the network does not end with a convolution", where=str(last))
    return last


def _writer(draft: Draft, index: int) -> Node:
    return next(node for node in draft.nodes if index in node.outputs)


def _order(graph: Graph, node: Node) -> tuple[int, ...] | None:
    """Of a TRANSPOSE."""
    if node.kind != "TRANSPOSE":
        return None
    order = graph.tensors[node.inputs[1]].data
    return None if order is None else tuple(int(i) for i in order.ravel())


def accumulator_step(graph: Graph, node: Node) -> float:
    """The coarsest step of a convolution's accumulator over its channels, in units of its output."""
    source, weights = (graph.tensors[index] for index in node.inputs[:2])
    return float(source.scale * max(weights.scales))


def gives_int16(draft: Draft, node: Node, scale: float, limits: tuple[int, int] = (-LIMIT, LIMIT)) -> int:
    """Let a convolution of the draft give int16 in steps of `scale`; the new output."""
    shape = draft.tensors[node.outputs[0]].shape
    output = draft.tensor(shape, np.int16, scale, 0, "int16")
    options = {**node.options, LIMITS: limits, "fusedActivationFunction": 0}
    draft.nodes[draft.nodes.index(node)] = replace(node, outputs=(output,), options=options)
    return output


def int16_of(
    graph: Graph, node: Node, scale: float, features: Array,
    limits: tuple[int, int] = (-LIMIT, LIMIT),
) -> npt.NDArray[np.int16]:  # fmt: skip
    """What `gives_int16` makes of a convolution's input (1, h, w, in_c), by its definition: (out_h, out_w, out_c)."""
    source, weights = (graph.tensors[index] for index in node.inputs[:2])
    out_c, k_h, k_w, _ = weights.shape
    given = node.inputs[2] if len(node.inputs) > 2 else -1
    bias = graph.tensors[given].data if given >= 0 else np.zeros(out_c)
    assert weights.data is not None and bias is not None
    output = replace(graph.tensors[node.outputs[0]], scales=(scale,), zero_points=(0,))
    ratios = effective_scales(source, weights, output, out_c)
    multiplier, shift = np.array([quantize_multiplier(float(ratio)) for ratio in ratios]).T
    strides = node.options["strideH"], node.options["strideW"]
    return convolution_int16(
        features[0].astype(np.int8), weights.data.astype(np.int8), bias.astype(np.int64).ravel(), multiplier, shift,
        input_zero=source.zero_point, stride=strides, pads=_pads(node, source, output, (k_h, k_w), strides),
        limits=limits,
    )  # fmt: skip


def _pads(
    node: Node, source: Tensor, output: Tensor, taps: tuple[int, int], strides: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Rows above and below, columns left and right."""
    pads = []
    for axis in (0, 1):
        size, count = source.shape[1 + axis], output.shape[1 + axis]
        before = padding(node.options["padding"], size, taps[axis], strides[axis], 1)[1]
        before = node.options.get(PADS, (before, before))[axis]
        pads += [before, max(0, (count - 1) * strides[axis] + taps[axis] - size - before)]
    return pads[0], pads[1], pads[2], pads[3]
