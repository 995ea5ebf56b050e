"""Operators that work value by value, each one table: RELU and its like, LOGISTIC, TANH, GELU, ABS, EXP, QUANTIZE."""

from __future__ import annotations

import numpy as np

from edge_ad.compile.integer.graph import Node
from edge_ad.compile.integer.lower import OPERATORS, Builder
from edge_ad.compile.integer.one_operator import value_table
from edge_ad.compile.integer.operators.operands import operands, refuse_constant
from edge_ad.compile.integer.records import Constant
from edge_ad.compile.integer.records.arithmetic import Table

_KINDS = ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "HARD_SWISH", "LOGISTIC", "TANH", "GELU",
          "ABS", "EXP", "QUANTIZE")  # fmt: skip


def unary(builder: Builder, node: Node) -> None:
    """(…) to (…), from INT8 to INT8 (what reads or writes float does not pass `read`)."""
    source, output = operands(builder, node, 1)
    refuse_constant(builder, node, source)
    if source.size != output.size:
        raise builder.refuse(
            node, f"its input and output have one shape, not {source.shape} to {output.shape}"
        )
    emit_table(builder, node, node.inputs[0])


def emit_table(builder: Builder, node: Node, varying: int) -> None:
    """`node` as a table over its input `varying`; nothing at all where it changes and moves no value.

    The reference rounds as it does: the table is what its kernel gave.
    """
    table = value_table(builder, node, varying)
    if np.array_equal(table, np.arange(-128, 128)) and builder.tensor(node.outputs[0]).part is None:
        builder.alias(node.outputs[0], varying)
        return
    source, output = builder.ref(varying), builder.ref(node.outputs[0])
    assert not isinstance(output, Constant)
    record = Table(
        input=source,
        output=output,
        table=builder.constant(np.roll(table, -128)),
        size=output.size,
    )
    builder.emit(node, record, reads=[source], writes=[output], in_place=[(source, output)])


OPERATORS.update(dict.fromkeys(_KINDS, unary))
