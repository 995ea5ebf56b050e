"""ADD, SUB and MUL.

LiteRT's reference kernels round twice here, at every scaling (see rounding.h). ADD and SUB bring both operands to
twice the larger scale with 20 more bits, then their sum to the output's scale. MUL's ratio of scales is float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.graph import Node, Tensor
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.operators.operands import operands, refuse_constant
from edge_ad.compile.integer.operators.tables import emit_table
from edge_ad.compile.integer.records.arithmetic import Add, Multiply
from edge_ad.compile.integer.requantize import activation_range, quantize_multiplier

RAISED_BITS = 20  # by which ADD and SUB lift INT8 operands before they are scaled
RANK = 5


def binary(builder: Builder, node: Node) -> None:
    """Two operands of up to five dimensions that broadcast; one may be a constant.

    A node that depends on one value alone (a constant of one value, or x * x) becomes a table.
    """
    a, b, output = _operands(builder, node)
    geometry = broadcast_geometry(a.shape, b.shape)
    if geometry is None or np.broadcast_shapes(a.shape, b.shape) != output.shape:
        raise builder.refuse(
            node, f"{a.shape} with {b.shape} does not broadcast to {output.shape} in at most {RANK} dimensions",
            "reshape the operands",
        )  # fmt: skip
    parameters = _multiply(a, b, output) if node.kind == "MUL" else _add(builder, node, a, b, output)
    varying = _varying(a, b, output)
    if varying is not None:
        emit_table(builder, node, varying)
        return
    low, high = activation_range(
        node.options.get("fusedActivationFunction", 0), output.scale, output.zero_point
    )
    left, right, target = (builder.ref(t.index) for t in (a, b, output))
    record = (Multiply if node.kind == "MUL" else Add)(
        a=left, b=right, output=target, geometry=builder.constant(geometry),
        a_zero=a.zero_point, b_zero=b.zero_point, output_zero=output.zero_point, low=low, high=high, **parameters,
    )  # fmt: skip
    pairs = [(place, target) for place, t in ((left, a), (right, b)) if t.size == output.size]
    builder.emit(node, record, reads=[left, right], writes=[target], in_place=pairs)


def broadcast_geometry(a: tuple[int, ...], b: tuple[int, ...]) -> npt.NDArray[np.int32] | None:
    """(3, 5) int32: extents of the result, strides of a and of b in elements (0 where one repeats).

    Neighbouring dimensions that both operands walk alike are merged, so rows are as long as can be. None where the
    shapes do not broadcast or more than five dimensions are left.
    """
    rank = max(len(a), len(b), 1)
    a, b = ((1,) * (rank - len(s)) + s for s in (a, b))
    rows: list[list[int]] = []  # extent, stride of a, stride of b; innermost first
    a_stride = b_stride = 1
    for m, n in zip(reversed(a), reversed(b), strict=True):
        if m != n and 1 not in (m, n):
            return None
        row = [max(m, n), a_stride if m > 1 else 0, b_stride if n > 1 else 0]
        a_stride, b_stride = a_stride * m, b_stride * n
        if row[0] == 1:
            continue
        if rows and row[1:] == [rows[-1][0] * stride for stride in rows[-1][1:]]:
            rows[-1][0] *= row[0]
        else:
            rows.append(row)
    if len(rows) > RANK:
        return None
    rows += [[1, 0, 0]] * (RANK - len(rows))
    return np.array(rows[::-1], np.int32).T.copy()


def _operands(builder: Builder, node: Node) -> tuple[Tensor, Tensor, Tensor]:
    a, b, output = operands(builder, node, 2)
    refuse_constant(builder, node, a, b)
    for tensor in (a, b):
        quantized = (
            len(tensor.scales) == 1 and 0 < tensor.scale < float("inf") and -128 <= tensor.zero_point <= 127
        )
        if tensor.dtype != np.int8 or not quantized:
            raise builder.refuse(
                node,
                f"the constant '{tensor.name}' is no INT8 with one scale",
                "quantize it per tensor to INT8",
            )
    return a, b, output


def _add(builder: Builder, node: Node, a: Tensor, b: Tensor, output: Tensor) -> dict[str, Any]:
    common = 2.0 * max(a.scale, b.scale)
    real = common / ((1 << RAISED_BITS) * output.scale)
    if real >= 1:
        # LiteRT's kernel for ADD aborts here.
        raise builder.refuse(
            node, f"its output's scale {output.scale:g} is a millionth of its operands' or less",
            "calibrate again: this output's range is wrong",
        )  # fmt: skip
    a_multiplier, a_shift = quantize_multiplier(a.scale / common)
    b_multiplier, b_shift = quantize_multiplier(b.scale / common)
    multiplier, shift = quantize_multiplier(real)
    return {
        "a_multiplier": a_multiplier, "a_shift": a_shift, "b_multiplier": b_multiplier, "b_shift": b_shift,
        "b_sign": -1 if node.kind == "SUB" else 1, "multiplier": multiplier, "shift": shift,
    }  # fmt: skip


def _multiply(a: Tensor, b: Tensor, output: Tensor) -> dict[str, Any]:
    real = np.float32(a.scale) * np.float32(b.scale) / np.float32(output.scale)
    multiplier, shift = quantize_multiplier(float(real))
    return {"multiplier": multiplier, "shift": shift}


def _varying(a: Tensor, b: Tensor, output: Tensor) -> int | None:
    """The one tensor whose value at a place decides the result there, if there is such a one."""
    if a.index == b.index:
        return a.index
    for tensor, other in ((a, b), (b, a)):
        if other.data is not None and tensor.size == output.size and np.all(other.data == other.data.flat[0]):
            return tensor.index
    return None


OPERATORS.update(dict.fromkeys(("ADD", "SUB", "MUL"), binary))
