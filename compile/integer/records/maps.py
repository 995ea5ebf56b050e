"""Records of detectors of images: pixels, differences in int16, anomaly maps in int32. Activations: NHWC, batch 1.

What each computes stands in edge_ad/runtime/integer: pixels.py, convolution.py, maps.py, similarity.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_ad.compile.integer.records.base import Record, Ref
from edge_ad.compile.integer.records.matrix import _Convolving


@dataclass(frozen=True)
class ConvolutionInt16(_Convolving, Record):
    """As `Convolution`, but the output is int16, within -32767 to 32767; the same weights and roundings.

    The accumulator is rounded to finer steps: for differences of what is nearly equal, which INT8 would round away.
    """

    C_NAME: ClassVar[str] = "convolution_int16"


@dataclass(frozen=True)
class Pixels(Record):
    """Rows `first` to before first + rows of an image: uint8 (channels, height, width) to (rows, width, channels).

    Blocks of block x block pixels are their mean where `mask`, uint8 (height / cell, width / cell), is not 0, all of
    them without one. wide 0: INT8, pixel - 128; 1: int16, pixel * 2^shift.
    """

    C_NAME: ClassVar[str] = "pixels"

    input: Ref
    output: Ref
    mask: Ref
    channels: int
    height: int
    width: int
    first: int
    rows: int
    block: int
    cell: int
    wide: int
    shift: int


@dataclass(frozen=True)
class TemplateMask(Record):
    """uint8 (channels, height, width) to uint8 (height / cell, width / cell): 1 where, in a cell or one beside it, the
    sum of a channel is not within limits, uint16 (2, channels, height / cell, width / cell), lowest and highest."""

    C_NAME: ClassVar[str] = "template_mask"

    input: Ref
    output: Ref
    limits: Ref
    channels: int
    height: int
    width: int
    cell: int


@dataclass(frozen=True)
class SquaredDifference(Record):
    """int32 (positions): the sum over channels of (a - b)^2, / 2^shift, half up, saturated. a, b: int16 (positions,
    channels); without b, a^2."""

    C_NAME: ClassVar[str] = "squared_difference"

    a: Ref
    b: Ref
    output: Ref
    positions: int
    channels: int
    shift: int


@dataclass(frozen=True)
class BoxMean(Record):
    """int32 (in_h, width) to (out_h, width): the mean, half up, of the values inside the input among the side x side
    around (y - top + side / 2, x); values are not negative and a window's sum is below 2^32."""

    C_NAME: ClassVar[str] = "box_mean"

    input: Ref
    output: Ref
    in_h: int
    width: int
    out_h: int
    side: int
    top: int


@dataclass(frozen=True)
class AffineMap(Record):
    """int32 (positions): (input - mean) * gain / 2^shift, half up, + base, saturated. mean int32, gain uint16: of each
    position where `each` is 1, else one for all. base: int32 (positions), or None."""

    C_NAME: ClassVar[str] = "affine_map"

    input: Ref
    base: Ref
    output: Ref
    mean: Ref
    gain: Ref
    positions: int
    each: int
    shift: int


@dataclass(frozen=True)
class MapMax(Record):
    """int32 (1): the largest of int32 (positions), - offset, saturated."""

    C_NAME: ClassVar[str] = "map_max"

    input: Ref
    output: Ref
    positions: int
    offset: int


@dataclass(frozen=True)
class Halve(Record):
    """int16 (2 out_h, in_w, channels) to (out_h, in_w / 2, channels): means of 2 x 2, half up."""

    C_NAME: ClassVar[str] = "halve"

    input: Ref
    output: Ref
    in_w: int
    channels: int
    out_h: int


@dataclass(frozen=True)
class GradientDissimilarity(Record):
    """int16 (in_h, width, channels), twice, to int32 (out_h, width): what gradient magnitudes differ by, in units of
    2^-bits, summed over channels. Row y is that of input row y - top + 1; borders repeat."""

    C_NAME: ClassVar[str] = "gradient_dissimilarity"

    a: Ref
    b: Ref
    output: Ref
    in_h: int
    width: int
    channels: int
    out_h: int
    top: int
    constant: int
    bits: int


@dataclass(frozen=True)
class StretchSum(Record):
    """int32 (in_h, in_w) between rows and columns of `places`, as ResizeBilinear's, + base: int32 (out_h, out_w)."""

    C_NAME: ClassVar[str] = "stretch_sum"

    input: Ref
    base: Ref
    output: Ref
    places: Ref
    in_h: int
    in_w: int
    out_h: int
    out_w: int
