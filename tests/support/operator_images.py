"""Images of single board operators, for tests that run one of them on the host's engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge_ad.compile.integer.graph import Graph, Node, Tensor
from edge_ad.compile.integer.image import Image, program_image
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records import Buffer, Record
from edge_ad.firmware_bridge.host_library import HostModel

Make = Callable[[Builder, Buffer, list[Buffer]], tuple[Record, Sequence[Buffer]]]


def operator_image(input_bytes: int, output_bytes: Sequence[int], make: Make, kernels="plain") -> Image:
    """An image of one operator with one input. make(builder, input, outputs) gives its record and its scratch."""
    builder = Builder(Graph((), (), (), ()), kernels)
    source = builder.buffer(input_bytes)
    results = [builder.buffer(size) for size in output_bytes]
    record, scratch = make(builder, source, results)
    node = Node(0, type(record).C_NAME, (), ())
    builder.emit(node, record, reads=[source], writes=[*results, *scratch])
    flat = Tensor(0, "", (1,), np.dtype(np.int8), (1.0,), (0,))
    builder.program.inputs = [(source, flat)]
    builder.program.outputs = [(result, flat) for result in results]
    return program_image(builder.program)


def run(image: Image, values: np.ndarray, *kinds: type) -> list[np.ndarray]:
    """The outputs on this machine's engine, flat, each of its kind."""
    model = HostModel(image.content, image.plan.size)
    outputs = model.infer([np.ascontiguousarray(values).reshape(-1).view(np.int8)])
    return [output.view(kind) for output, kind in zip(outputs, kinds, strict=True)]
