"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR: where each row and column comes from is known at compile time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.graph import Node, Tensor
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.records.pooling import ResizeBilinear, ResizeNearest

ONE = 1 << 10  # a weight of 1
# Option of our own: rows of the whole input and output, the first row of each that this node has.
ROWS = "rows"


def resize(builder: Builder, node: Node) -> None:
    source, output = builder.tensor(node.inputs[0]), builder.tensor(node.outputs[0])
    if (source.scale, source.zero_point) != (output.scale, output.zero_point):
        raise builder.refuse(node, "input and output have different scales", "quantize them alike")
    (batch, in_h, in_w, channels), (_, out_h, out_w, _) = source.shape, output.shape
    if source.dtype != output.dtype or (source.dtype != np.int8 and node.kind == "RESIZE_BILINEAR"):
        raise builder.refuse(node, f"resizes {source.dtype} to {output.dtype}")
    channels *= source.dtype.itemsize  # the nearest pixel is moved as bytes
    read, written = builder.ref(source.index), builder.ref(output.index)
    record = (ResizeBilinear if node.kind == "RESIZE_BILINEAR" else ResizeNearest)(
        input=read, output=written, places=builder.constant(resize_tables(node, source, output)), batch=batch,
        in_h=in_h, in_w=in_w, channels=channels, out_h=out_h, out_w=out_w,
    )  # fmt: skip
    builder.emit(node, record, reads=[read], writes=[written])


def resize_tables(node: Node, source: Tensor, output: Tensor) -> npt.NDArray[np.int32]:
    """Where the output's rows come from, then its columns."""
    (_, in_h, in_w, _), (_, out_h, out_w, _) = source.shape, output.shape
    return np.concatenate([row_places(node, in_h, out_h), _places(node, in_w, out_w)])


def row_places(node: Node, in_h: int, out_h: int) -> npt.NDArray[np.int32]:
    """Where the output's rows come from, among the input's: (out_h,) of nearest, (out_h, 3) of bilinear."""
    whole_in, whole_out, first_in, first_out = node.options.get(ROWS, (in_h, out_h, 0, 0))
    found = _places(node, whole_in, whole_out)[first_out : first_out + out_h].copy()
    rows = found[:, :2] if found.ndim == 2 else found
    rows -= first_in
    return found


def _places(node: Node, n_in: int, n_out: int) -> npt.NDArray[np.int32]:
    find = nearest_places if node.kind == "RESIZE_NEAREST_NEIGHBOR" else bilinear_places
    return find(n_in, n_out, bool(node.options["alignCorners"]), bool(node.options["halfPixelCenters"]))


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
