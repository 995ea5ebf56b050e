"""Records of shape operators: strided copies and fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_ad.compile.integer.records.base import Record, Ref


@dataclass(frozen=True)
class Copy(Record):
    """Runs of bytes from one grid of places to another; the two must not overlap.

    geometry (3, 5) int32: extents, strides of the input and of the output in bytes, which may be negative. run:
    bytes at each place; input_start, output_start: of the first place.
    """

    C_NAME: ClassVar[str] = "copy"

    input: Ref
    output: Ref
    geometry: Ref
    input_start: int
    output_start: int
    run: int


@dataclass(frozen=True)
class Fill(Record):
    """`count` bytes of `value`."""

    C_NAME: ClassVar[str] = "fill"

    output: Ref
    count: int
    value: int
