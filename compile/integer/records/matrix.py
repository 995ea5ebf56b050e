"""Records of FULLY_CONNECTED and the convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_ad.compile.integer.records.base import Record, Ref


@dataclass(frozen=True)
class _Multiplying:
    input: Ref
    output: Ref
    weights: Ref
    channels: Ref
    batch: int
    depth: int
    units: int
    output_zero: int
    low: int
    high: int


@dataclass(frozen=True)
class FullyConnected(_Multiplying, Record):
    """output[b, u] = clamp(requantize(bias[u] + sum_d input[b, d] * weights[u, d]) + output_zero); rounded once.

    weights (units, depth) int8, packed for the kernel set. channels: int32 bias[units], multiplier[units],
    shift[units]; the input's zero point is folded into the bias.
    """

    C_NAME: ClassVar[str] = "fully_connected"


@dataclass(frozen=True)
class FullyConnectedFine(_Multiplying, Record):
    """As `FullyConnected` with weights as they are, for scales that 31 bits are too few for; the same on every board.

    channels: int32 bias[units], multiplier[units], shift[units], and the multipliers' further 31 bits[units].
    """

    C_NAME: ClassVar[str] = "fully_connected_fine"


@dataclass(frozen=True)
class Geometry:
    """Extents of a convolution, in elements; activations are NHWC. The records below begin with these words.

    Tap (y, x) of output pixel (i, j) reads input pixel (i * stride_h - pad_top + y * dilation_h, j * stride_w -
    pad_left + x * dilation_w). Output channel c reads the in_c / groups input channels from (c // (out_c / groups))
    * (in_c / groups) on. Only TransposeConvolution reads the first sentence the other way round.
    """

    batch: int
    in_h: int
    in_w: int
    in_c: int
    out_h: int
    out_w: int
    out_c: int
    k_h: int
    k_w: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    pad_top: int
    pad_left: int
    groups: int


@dataclass(frozen=True)
class _Convolving(Geometry):
    """scratch: a kernel set's own memory of the arena (`scratch_bytes`), or None."""

    input: Ref
    output: Ref
    weights: Ref
    channels: Ref
    scratch: Ref
    input_zero: int
    output_zero: int
    low: int
    high: int


@dataclass(frozen=True)
class Convolution(_Convolving, Record):
    """output = clamp(requantize(bias + sum over taps and channels of input * weight) + output_zero); rounded twice.

    weights: int8 (out_c, k_h, k_w, in_c / groups), packed for the kernel set. channels: int32 bias[out_c],
    multiplier[out_c], shift[out_c]. The bias holds -input_zero * (sum of all the channel's weights), so a tap outside
    the input counts as input_zero.
    """

    C_NAME: ClassVar[str] = "convolution"


@dataclass(frozen=True)
class Depthwise(_Convolving, Record):
    """As `Convolution` with groups = in_c; weights: int8 (k_h, k_w, out_c), packed for the kernel set."""

    C_NAME: ClassVar[str] = "depthwise"


@dataclass(frozen=True)
class TransposeConvolution(_Convolving, Record):
    """Input pixel (i, j) adds to output pixel (i * stride_h - pad_top + y, j * stride_w - pad_left + x) by tap (y, x).

    weights: int8 (out_c, k_h, k_w, in_c). channels: as of `Convolution`, but the bias is the plain one and input_zero
    is taken from each input, since the taps that reach an output differ from one to the next. groups, dilations: 1.
    """

    C_NAME: ClassVar[str] = "transpose_convolution"
