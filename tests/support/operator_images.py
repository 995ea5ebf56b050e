"""Images of single board operators, for tests that run one of them on the host's engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge_ad.compile.integer.image import Image, write_image
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records import Buffer, Record
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.firmware_bridge.port_spec import PortSpec

Make = Callable[[Builder, Buffer, list[Buffer]], tuple[Record, Sequence[Buffer]]]


def operator_image(input_bytes: int, output_bytes: Sequence[int], make: Make, kernels="plain") -> Image:
    """An image of one operator with one input. make(builder, input, outputs) gives its record and its scratch."""
    builder = Builder(kernels)
    source = builder.input(PortSpec((input_bytes,)))
    results = [builder.buffer(size) for size in output_bytes]
    record, scratch = make(builder, source, results)
    builder.step(record, reads=[source], writes=[*results, *scratch])
    for result in results:
        builder.output(PortSpec((result.size,)), result)
    return write_image(builder.program)


def run(image: Image, values: np.ndarray, *kinds: type) -> list[np.ndarray]:
    """The outputs on this machine's engine, flat, each of its kind."""
    model = HostModel(image.content, image.plan.size)
    outputs = model.infer([np.ascontiguousarray(values).reshape(-1).view(np.int8)])
    return [output.view(kind) for output, kind in zip(outputs, kinds, strict=True)]
