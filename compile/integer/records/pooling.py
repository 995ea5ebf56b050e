"""Records of AVERAGE_POOL_2D, MAX_POOL_2D and the resizes. Tensors are (batch, height, width, channels)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_ad.compile.integer.records.base import Record, Ref


@dataclass(frozen=True)
class _Pooling:
    """The mean (rounded half away from zero) or, with `maximum` 1, the maximum of each window inside the input."""

    input: Ref
    output: Ref
    maximum: int
    batch: int
    in_h: int
    in_w: int
    channels: int
    out_h: int
    out_w: int
    k_h: int
    k_w: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    low: int
    high: int


@dataclass(frozen=True)
class Pool(_Pooling, Record):
    """Of INT8."""

    C_NAME: ClassVar[str] = "pool"


@dataclass(frozen=True)
class ResizeNearest(Record):
    """output[b, y, x] = input[b, places[y], places[out_h + x]]; places int32."""

    C_NAME: ClassVar[str] = "resize_nearest"

    input: Ref
    output: Ref
    places: Ref
    batch: int
    in_h: int
    in_w: int
    channels: int
    out_h: int
    out_w: int


@dataclass(frozen=True)
class ResizeBilinear(Record):
    """Between the rows and columns of `places`: (out_h + out_w, 3) int32, each lower, upper, weight of upper * 1024."""

    C_NAME: ClassVar[str] = "resize_bilinear"

    input: Ref
    output: Ref
    places: Ref
    batch: int
    in_h: int
    in_w: int
    channels: int
    out_h: int
    out_w: int
