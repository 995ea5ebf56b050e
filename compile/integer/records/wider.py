"""Records by which layers in 16 bits take what comes in 8, or through pooling: edge_ad/runtime/integer/wider.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_ad.compile.integer.records.base import Record, Ref
from edge_ad.compile.integer.records.pooling import _Pooling


@dataclass(frozen=True)
class Widen(Record):
    """int16 output[i] = saturate(scale(input[i] - zero, multiplier, shift)) of an int8 input: `widen`."""

    C_NAME: ClassVar[str] = "widen"

    input: Ref
    output: Ref
    size: int
    multiplier: int
    shift: int
    zero: int


@dataclass(frozen=True)
class Pool16(_Pooling, Record):
    """As `Pool`, of int16; a window has 2^15 values at most."""

    C_NAME: ClassVar[str] = "pool16"
