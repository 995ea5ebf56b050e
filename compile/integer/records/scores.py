"""Records of what makes a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_ad.compile.integer.records.base import Record, Ref


@dataclass(frozen=True)
class SquaredError(Record):
    """output, one int32 = sum of squared differences of two tensors of `count` values, both INT8; the first, where
    `wide` is 1, or both, where it is 2, int16 with zero point 0 (`edge_ad.runtime.integer.squared_error`)."""

    C_NAME: ClassVar[str] = "squared_error"

    a: Ref
    b: Ref
    output: Ref
    count: int
    a_zero: int
    b_zero: int
    a_multiplier: int
    b_multiplier: int
    shift: int
    wide: int
