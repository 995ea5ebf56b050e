"""Records of layers in 16 bits: edge_ad/runtime/integer/layers16.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_ad.compile.integer.records.base import Record, Ref


@dataclass(frozen=True)
class Standardise16(Record):
    """`standardise16` of int16 (channels, size) to int16 (size, channels). constants: int32 (3, channels)."""

    C_NAME: ClassVar[str] = "standardise16"

    input: Ref
    output: Ref
    constants: Ref
    channels: int
    size: int


@dataclass(frozen=True)
class _Layer16:
    """Tensors int16. weights: rows of k_h * k_w * in_c, packed for the kernel set. channels: int32 bias[rows],
    multiplier[rows]. scratch: `scratch16_bytes`."""

    input: Ref
    output: Ref
    weights: Ref
    channels: Ref
    scratch: Ref
    in_h: int
    in_w: int
    in_c: int
    rows: int
    shift: int
    low: int
    high: int


@dataclass(frozen=True)
class Convolution16(_Layer16, Record):
    """`convolution16` of (in_h, in_w, in_c) to (out_h, out_w, rows)."""

    C_NAME: ClassVar[str] = "convolution16"

    out_h: int
    out_w: int
    k_h: int
    k_w: int
    stride: int
    pad_top: int
    pad_left: int


@dataclass(frozen=True)
class Doubling16(_Layer16, Record):
    """`doubling16` of (in_h, in_w, in_c) to (2 in_h, 2 in_w, rows / 4)."""

    C_NAME: ClassVar[str] = "doubling16"
