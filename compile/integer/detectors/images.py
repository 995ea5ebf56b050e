"""What detectors of images share on a board: pixels in, and the convolutions that end the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edge_ad.compile.integer.detectors.material import Material
from edge_ad.compile.integer.draft import Draft
from edge_ad.compile.integer.graph import Graph, Node
from edge_ad.compile.target import Calibration
from edge_ad.errors import TargetError
from edge_ad.firmware_bridge.port_spec import Array, PortSpec

TO_CHANNELS_LAST, TO_CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
PIXEL_ZERO = -128  # the INT8 value of a black pixel: a step of the network's input is a step of the pixel


def of_its_size(material: Material) -> Material:
    """With calibration images of the detector's own size, which they are unless it is a preset that is only tried."""
    shape = material.captured.input.shape
    if next(material.calibration.batches()).shape[2:] == shape[2:]:
        return material

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
