"""Records of networks with a 16-bit residual stream: INT8 weights, int16 activations without zero points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_ad.compile.integer.records.base import Record, Ref


@dataclass(frozen=True)
class FullyConnectedWide(Record):
    """int16 (batch, depth), from row `first` of the input on, to int16 (batch, units): runtime/integer/residual.py.

    weights (units, depth) int8, packed for the kernel set. channels: int32 bias[units], then scale[units], a multiplier
    whose lowest six bits say how far its product is shifted, less 1.
    """

    C_NAME: ClassVar[str] = "fully_connected_wide"

    input: Ref
    output: Ref
    weights: Ref
    channels: Ref
    first: int
    batch: int
    depth: int
    units: int


@dataclass(frozen=True)
class FeatureScale(Record):
    """int16 (rows, columns) to int16, each column by its own multiplier, shift and offset (int32, in `features`).

    transposed: 1 where the output is (columns, rows).
    """

    C_NAME: ClassVar[str] = "feature_scale"

    input: Ref
    output: Ref
    features: Ref
    rows: int
    columns: int
    transposed: int


@dataclass(frozen=True)
class Curve(Record):
    """output[i] = the curve at input[i], both int16, by `table`: 2^(16 - bits) + 1 int16 values, interpolated."""

    C_NAME: ClassVar[str] = "curve"

    input: Ref
    output: Ref
    table: Ref
    bits: int
    size: int


@dataclass(frozen=True)
class GatedAdd(Record):
    """stream += hidden * curve(gate), scaled; stream int16 (rows, columns), in place.

    hidden, gate: int16 (rows, columns), with `transposed` 1 (columns, rows). table, bits: as of `Curve`.
    """

    C_NAME: ClassVar[str] = "gated_add"

    stream: Ref
    hidden: Ref
    gate: Ref
    table: Ref
    bits: int
    rows: int
    columns: int
    transposed: int
    multiplier: int
    shift: int


@dataclass(frozen=True)
class TokenNorm(Record):
    """Layer norm over all of a, b and c together (int16, of so many values each) to the int16 output.

    gains, biases: int16, one a value. floor: low and high word of what is added to the scaled variance. shift: of the
    product with a gain.
    """

    C_NAME: ClassVar[str] = "token_norm"

    a: Ref
    b: Ref
    c: Ref
    output: Ref
    gains: Ref
    biases: Ref
    a_size: int
    b_size: int
    c_size: int
    floor_low: int
    floor_high: int
    shift: int
