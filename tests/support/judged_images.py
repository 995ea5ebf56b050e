"""Images whose score is what they are given, so that a test decides what a board sees."""

from __future__ import annotations

import numpy as np

from edge_ad.compile.integer.graph import Node
from edge_ad.compile.integer.image import Image, write_image
from edge_ad.compile.integer.lower import Builder, KernelSet
from edge_ad.compile.integer.records.moves import Copy
from edge_ad.firmware_bridge.monitor import Monitor, Stream
from edge_ad.firmware_bridge.port_spec import PortSpec

ROWS = 6  # of a window; the newest two are the score: low half, high half
HOP = 2
IDENTITY = Stream(hop=HOP, rows=ROWS, mean=(0.0,), std=(1.0,), scale=1.0)


def frame_image(kernels: KernelSet, monitor: Monitor) -> Image:
    """Input: four bytes; score: the same as an int32."""
    return _image(kernels, monitor, PortSpec((1, 4), "int8"), 0)


def stream_image(kernels: KernelSet, monitor: Monitor) -> Image:
    """Input: a window of ROWS numbers of one channel; score: the newest two, as the halves of an int32."""
    return _image(kernels, monitor, PortSpec((1, 1, ROWS), "int16"), 2 * (ROWS - HOP))


def rows_of(scores: list[int], *, before: int = ROWS - HOP) -> np.ndarray:
    """Rows (n, 1) int16 that give these scores, a hop each, behind `before` rows that fill the first window."""
    halves = np.array(scores, "<i4").view("<i2")
    return np.concatenate([np.zeros(before, np.int16), halves])[:, None]


def _image(kernels: KernelSet, monitor: Monitor, spec: PortSpec, start: int) -> Image:
    builder = Builder(kernels)
    given = builder.input(spec, keep=monitor.stream is not None)
    score = builder.buffer(4)
    grid = builder.constant(np.array([[1] * 5, [0] * 5, [0] * 5], np.int32))
    record = Copy(input=given, output=score, geometry=grid, input_start=start, output_start=0, run=4)
    builder.emit(Node(0, "SCORE", (), ()), record, reads=[given], writes=[score])
    builder.output(PortSpec((1, 1), "int32", monitor.scale), score)
    raw = np.arange(1, spec.size + 1).astype(spec.dtype)
    golden = spec.raw(raw), spec.raw(raw)[start : start + 4]
    return write_image(builder.program, [([golden[0]], [golden[1]])], monitor.pack())
