"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR: where each row and column comes from is known at compile time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.graph import Node
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.records.pooling import ResizeBilinear, ResizeNearest

ONE = 1 << 10  # a weight of 1


def resize(builder: Builder, node: Node) -> None:
    source, output = builder.tensor(node.inputs[0]), builder.tensor(node.outputs[0])
    if (source.scale, source.zero_point) != (output.scale, output.zero_point):
        raise builder.refuse(node, "input and output have different scales", "quantize them alike")
    (batch, in_h, in_w, channels), (_, out_h, out_w, _) = source.shape, output.shape
    bilinear = node.kind == "RESIZE_BILINEAR"
    corners, halves = bool(node.options["alignCorners"]), bool(node.options["halfPixelCenters"])
    find = bilinear_places if bilinear else nearest_places
    tables = [find(in_h, out_h, corners, halves), find(in_w, out_w, corners, halves)]
    read, written = builder.ref(source.index), builder.ref(output.index)
    record = (ResizeBilinear if bilinear else ResizeNearest)(
        input=read, output=written, places=builder.constant(np.concatenate(tables)), batch=batch, in_h=in_h,
        in_w=in_w, channels=channels, out_h=out_h, out_w=out_w,
    )  # fmt: skip
    builder.emit(node, record, reads=[read], writes=[written])


def nearest_places(n_in: int, n_out: int, corners: bool, halves: bool) -> npt.NDArray[np.int32]:
    """(n_out,) int32. All arithmetic in float32, as the reference's; rounding half away from zero."""
    f = np.float32
    scale = f(n_in - 1) / f(n_out - 1) if corners and n_out > 1 else f(n_in) / f(n_out)
    at = (np.arange(n_out, dtype=f) + f(0.5 if halves else 0.0)) * scale
    found = np.floor(at + f(0.5)) if corners else np.floor(at)
    return np.clip(found, 0, n_in - 1).astype(np.int32)


def bilinear_places(n_in: int, n_out: int, corners: bool, halves: bool) -> npt.NDArray[np.int32]:
    """(n_out, 3) int32: lower, upper, weight of the upper in 1/1024. Positions have ten fractional bits."""
    scale = (ONE * n_in + n_out // 2) // n_out
    if corners and n_out > 1:
        scale = (ONE * (n_in - 1) + (n_out - 1) // 2) // (n_out - 1)
    at = np.arange(n_out, dtype=np.int64) * scale + (scale // 2 - ONE // 2 if halves else 0)
    # Division that rounds towards zero, as C's.
    lower = np.maximum(np.sign(at) * (np.abs(at) // ONE), 0)
    above = at + ONE - 1
    upper = np.minimum(np.sign(above) * (np.abs(above) // ONE), n_in - 1)
    return np.stack([lower, upper, at - ONE * lower], 1).astype(np.int32)


OPERATORS["RESIZE_BILINEAR"] = resize
OPERATORS["RESIZE_NEAREST_NEIGHBOR"] = resize
