"""Records of distances from what is normal: edge_ad/runtime/integer/distances.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_ad.compile.integer.records.base import Record, Ref


@dataclass(frozen=True)
class RowSums(Record):
    """`row_sums` of int16 (rows, length) to int32 (rows,)."""

    C_NAME: ClassVar[str] = "row_sums"

    input: Ref
    output: Ref
    rows: int
    length: int


@dataclass(frozen=True)
class Mahalanobis(Record):
    """`mahalanobis` of int32 (n,) to one int32.

    centres: int32 (gaussians, n). whitening: int16 (gaussians, rows, n), or (gaussians, n) where `diagonal` is 1 and
    rows is n. shifts: int32 (gaussians, rows).
    """

    C_NAME: ClassVar[str] = "mahalanobis"

    input: Ref
    output: Ref
    centres: Ref
    whitening: Ref
    shifts: Ref
    gaussians: int
    rows: int
    n: int
    diagonal: int
    shift: int


@dataclass(frozen=True)
class TwoSided(Record):
    """`two_sided` of one int32 to one int32."""

    C_NAME: ClassVar[str] = "two_sided"

    input: Ref
    output: Ref
    centre: int
    below_multiplier: int
    below_shift: int
    above_multiplier: int
    above_shift: int
