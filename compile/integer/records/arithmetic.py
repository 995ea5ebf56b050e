"""Records of ADD, SUB, MUL, MEAN, SOFTMAX and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_ad.compile.integer.records.base import Record, Ref


@dataclass(frozen=True)
class Add(Record):
    """output = clamp(requantize(scaled(a) + b_sign * scaled(b)) + output_zero), scaled(x) in units of 2^-20.

    geometry: int32 (3, 5): extents of the output, then strides of a and of b in elements, 0 where one repeats.
    b_sign: 1 for ADD, -1 for SUB.
    """

    C_NAME: ClassVar[str] = "add"

    a: Ref
    b: Ref
    output: Ref
    geometry: Ref
    a_zero: int
    a_multiplier: int
    a_shift: int
    b_zero: int
    b_multiplier: int
    b_shift: int
    b_sign: int
    multiplier: int
    shift: int
    output_zero: int
    low: int
    high: int


@dataclass(frozen=True)
class Multiply(Record):
    """output = clamp(requantize((a - a_zero) * (b - b_zero)) + output_zero). geometry: as of `Add`."""

    C_NAME: ClassVar[str] = "multiply"

    a: Ref
    b: Ref
    output: Ref
    geometry: Ref
    a_zero: int
    b_zero: int
    multiplier: int
    shift: int
    output_zero: int
    low: int
    high: int


@dataclass(frozen=True)
class Mean(Record):
    """output = clamp(requantize(bias + sum of the reduced elements) + output_zero).

    kept, reduced: extents, outermost first, with the input's strides in elements. The division by the number of
    elements is folded into multiplier and shift, the input's zero point into bias.
    """

    C_NAME: ClassVar[str] = "mean"

    input: Ref
    output: Ref
    kept0: int
    kept1: int
    kept2: int
    kept_stride0: int
    kept_stride1: int
    kept_stride2: int
    reduced0: int
    reduced1: int
    reduced2: int
    reduced_stride0: int
    reduced_stride1: int
    reduced_stride2: int
    bias: int
    multiplier: int
    shift: int
    output_zero: int


@dataclass(frozen=True)
class Table(Record):
    """output[i] = table[input[i]]; table: 256 INT8 values, those of inputs 0 to 127 first, then of -128 to -1."""

    C_NAME: ClassVar[str] = "table"

    input: Ref
    output: Ref
    table: Ref
    size: int


@dataclass(frozen=True)
class Softmax(Record):
    """Each of `rows` rows of `depth` values. exponentials: int32 (256,), exp of the distance to the row's largest."""

    C_NAME: ClassVar[str] = "softmax"

    input: Ref
    output: Ref
    exponentials: Ref
    rows: int
    depth: int
