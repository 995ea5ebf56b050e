"""What most operators ask first: how many tensors a node has."""

from __future__ import annotations

from edge_ad.compile.integer.graph import Node, Tensor
from edge_ad.compile.integer.lower import Builder


def operands(builder: Builder, node: Node, count: int) -> tuple[Tensor, ...]:
    """The node's `count` inputs, then its one output. Raises TargetError for any other number."""
    if len(node.inputs) != count or min(node.inputs) < 0 or len(node.outputs) != 1:
        raise builder.refuse(
            node, f"takes {count} inputs to one output, not {len(node.inputs)} to {len(node.outputs)}"
        )
    return tuple(builder.tensor(i) for i in (*node.inputs, *node.outputs))


def refuse_constant(builder: Builder, node: Node, *tensors: Tensor) -> None:
    """Raises TargetError when all of a node's inputs are constants."""
    if all(tensor.data is not None for tensor in tensors):
        raise builder.refuse(
            node, "all its inputs are constants", "convert the network again with constants folded"
        )
