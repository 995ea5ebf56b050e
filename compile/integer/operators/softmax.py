"""SOFTMAX over the last axis.

LiteRT's reference kernel works in fixed point (gemmlowp's exp of negative values, 5 integer bits in, none out), each
product rounded once and each shift once more. A value's distance to its row's largest has 256 possible values, so
their exponentials are a table of the image; sum, reciprocal and shares are the board's.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.graph import Node
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.operators.operands import operands, refuse_constant
from edge_ad.compile.integer.records.arithmetic import Softmax
from edge_ad.compile.integer.requantize import quantize_multiplier

MAX_DEPTH = 4095  # a longer sum of exponentials leaves 32 bits
_ONE = (1 << 31) - 1  # 1.0 with 31 fractional bits
_FRACTION = 26  # fractional bits of a distance


def softmax(builder: Builder, node: Node) -> None:
    """(…, depth); the output's scale is 1/256 and its zero point -128, as LiteRT demands."""
    source, output = operands(builder, node, 1)
    refuse_constant(builder, node, source)
    if source.size != output.size or not source.shape:
        raise builder.refuse(
            node, f"takes a tensor to one of its shape, not {source.shape} to {output.shape}"
        )
    if (output.scale, output.zero_point) != (1 / 256, -128):
        raise builder.refuse(
            node, f"its output has scale {output.scale:g} and zero point {output.zero_point}",
            "LiteRT's SOFTMAX has 1/256 and -128",
        )  # fmt: skip
    depth = source.shape[-1]
    if depth > MAX_DEPTH:
        raise builder.refuse(node, f"{depth} classes are more than {MAX_DEPTH}", "use fewer classes")
    factor = float(node.options.get("beta", 1.0)) * source.scale * (1 << _FRACTION)
    if not 1 < factor < math.inf:
        # LiteRT's kernel aborts here.
        raise builder.refuse(
            node, f"beta times its input's scale, {factor / (1 << _FRACTION):g}, is out of range"
        )
    reads, writes = builder.ref(source.index), builder.ref(output.index)
    record = Softmax(
        input=reads, output=writes, exponentials=builder.constant(exponentials(factor)),
        rows=source.size // depth, depth=depth,
    )  # fmt: skip
    builder.emit(node, record, reads=[reads], writes=[writes], in_place=[(reads, writes)])


def exponentials(factor: float) -> npt.NDArray[np.int32]:
    """(256,) exp(-d * factor / 2^26) with 31 fractional bits, d = 0 to 255; 0 where the exponent is below -32 or so."""
    multiplier, shift = quantize_multiplier(min(factor, float(_ONE)))
    last = (31 << _FRACTION) >> shift  # beyond it a distance leaves 5 integer bits
    values = [_exp(_product(-d << shift, multiplier)) if d <= last else 0 for d in range(256)]
    return np.array(values, np.int32)


def _product(a: int, b: int) -> int:
    """Of two numbers of 31 fractional bits, half up."""
    return (a * b + (1 << 30)) >> 31


def _halved(a: int, times: int) -> int:
    """a / 2^times, half away from zero."""
    half = 1 << (times - 1)
    return (a + half) >> times if a >= 0 else -((-a + half) >> times)


def _constant(value: float) -> int:
    return round(value * (1 << 31))


def _exp(x: int) -> int:
    """exp of x <= 0 with 26 fractional bits: of its part in [-1/4, 0) by a series, times exp(-2^k) for each bit above.

    The series: exp(-1/8 + y) = exp(-1/8) (1 + y + y^2/2 + y^3/6 + y^4/24).
    """
    if x == 0:
        return _ONE
    quarter = 1 << (_FRACTION - 2)
    part = x % quarter - quarter
    y = (part << (31 - _FRACTION)) + (1 << 28)
    y2 = _product(y, y)
    y3, y4 = _product(y2, y), _product(y2, y2)
    tail = _halved(_product(_halved(y4, 2) + y3, _constant(1 / 3)) + y2, 1)
    start = _constant(math.exp(-1 / 8))
    result = min(start + _product(start, y + tail), _ONE)
    rest = part - x
    for k in range(-2, 5):
        if rest & (1 << (_FRACTION + k)):
            result = _product(result, _constant(math.exp(-(2.0**k))))
    return result


OPERATORS["SOFTMAX"] = softmax
