"""The mean squared difference of two INT8 tensors as one int32."""

from __future__ import annotations

import math

from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records import Buffer
from edge_ad.compile.integer.records.scores import SquaredError as Record
from edge_ad.firmware_bridge.port_spec import PortSpec
from edge_ad.runtime.integer.squared_error import LARGEST, SquaredError

_SPAN = 255  # largest distance of an INT8 value from a zero point
_SUM_BITS = 62
_MULTIPLIER_BITS = 20


def squared_error(a: PortSpec, b: PortSpec) -> tuple[SquaredError, PortSpec]:
    """The operator for tensors of these ports, and the port of its result: value = scale * integer is the mean squared
    difference.

    The common unit is as fine as the sum's 63 bits allow, so that up to 2^15 values a scale is known to 2^-15 of the
    larger one; the shift leaves the largest sum that can be just below 2^31, so nothing saturates.
    """
    n = a.size
    bits = min(_MULTIPLIER_BITS, (_SUM_BITS - 18 - math.ceil(math.log2(n))) // 2)
    unit = max(a.scale, b.scale) / (1 << bits)
    multipliers = round(a.scale / unit), round(b.scale / unit)
    most = n * (_SPAN * sum(multipliers)) ** 2
    shift = max(0, most.bit_length() - LARGEST.bit_length())
    operator = SquaredError((a.zero_point, b.zero_point), multipliers, shift)
    return operator, PortSpec((1, 1), "int32", unit * unit * 2.0**shift / n)


def emit(builder: Builder, operator: SquaredError, a: Buffer, b: Buffer) -> Buffer:
    """The operator's step; where its result is."""
    output = builder.buffer(4)
    record = Record(
        a=a, b=b, output=output, count=a.size, a_zero=operator.zeros[0], b_zero=operator.zeros[1],
        a_multiplier=operator.multipliers[0], b_multiplier=operator.multipliers[1], shift=operator.shift,
    )  # fmt: skip
    builder.step(record, reads=[a, b], writes=[output], macs=a.size)
    return output
