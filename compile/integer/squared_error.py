"""The mean squared difference of two tensors, each INT8 or int16, as one int32."""

from __future__ import annotations

import math

from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records import Buffer
from edge_ad.compile.integer.records.scores import SquaredError as Record
from edge_ad.firmware_bridge.port_spec import PortSpec
from edge_ad.runtime.integer.squared_error import LARGEST, SquaredError

_SPAN = 255  # largest distance of an INT8 value from a zero point
_WIDE_SPAN = 1 << 15  # of an int16 value, whose zero point is 0
_SUM_BITS = 62
_MULTIPLIER_BITS = 20


def squared_error(a: PortSpec, b: PortSpec) -> tuple[SquaredError, PortSpec]:
    """The operator for tensors of these ports, and the port of its result: value = scale * integer is the mean squared
    difference.

    The common unit is as fine as the sum's 63 bits allow, so that up to 2^15 values a scale is known to 2^-15 of the
    larger one; where the first tensor is int16, whose steps are the smaller ones, it is a power of two below its step.
    The second may be int16 where the first is. The shift leaves the largest sum that can be just below 2^31, so nothing
    saturates.
    """
    n = a.size
    if a.dtype == "int16":
        unit = a.scale
        while _fits(_finer(a, b, unit / 2), a, b):
            unit /= 2
        multipliers = _finer(a, b, unit)
    else:
        bits = min(_MULTIPLIER_BITS, (_SUM_BITS - 18 - math.ceil(math.log2(n))) // 2)
        unit = max(a.scale, b.scale) / (1 << bits)
        multipliers = _finer(a, b, unit)
    most = n * largest_difference(multipliers, a, b) ** 2
    shift = max(0, most.bit_length() - LARGEST.bit_length())
    operator = SquaredError((a.zero_point, b.zero_point), multipliers, shift)
    return operator, PortSpec((1, 1), "int32", unit * unit * 2.0**shift / n)


def _finer(a: PortSpec, b: PortSpec, unit: float) -> tuple[int, int]:
    return round(a.scale / unit), round(b.scale / unit)


def largest_difference(multipliers: tuple[int, int], a: PortSpec, b: PortSpec) -> int:
    """What no difference exceeds, in the common unit."""
    spans = (_WIDE_SPAN if port.dtype == "int16" else _SPAN for port in (a, b))
    return sum(span * multiplier for span, multiplier in zip(spans, multipliers, strict=True))


def _fits(multipliers: tuple[int, int], a: PortSpec, b: PortSpec) -> bool:
    """Whether differences have 32 bits and the sum of their squares 63."""
    largest = largest_difference(multipliers, a, b)
    return (
        max(multipliers) <= 1 << _MULTIPLIER_BITS
        and largest < 1 << 31
        and a.size * largest**2 < 1 << _SUM_BITS
    )


def emit(builder: Builder, operator: SquaredError, a: Buffer, b: Buffer, count: int) -> Buffer:
    """The operator's step, for tensors of `count` values; where its result is."""
    output = builder.buffer(4)
    record = Record(
        a=a, b=b, output=output, count=count, a_zero=operator.zeros[0], b_zero=operator.zeros[1],
        a_multiplier=operator.multipliers[0], b_multiplier=operator.multipliers[1], shift=operator.shift,
        wide=(a.size + b.size) // count - 2,
    )  # fmt: skip
    builder.step(record, reads=[a, b], writes=[output], macs=count)
    return output
