"""The steps of int16 tensors that stand in for INT8 ones.

What is only moved, pooled or put together keeps its steps, so tensors that such nodes join share them. A step is a
sixteenth of the coarsest INT8 step among them: 12 bits over what calibration saw. Where a layer gives the tensor there
is room for four times that, so that what is far off is not cut off. Each bit more would be one less of the next layer's
weights, since no sum of 32 bits may overflow: both have about 12.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_ad.compile.integer.graph import Node, Tensor
from edge_ad.compile.integer.layers16 import Range

FINER, ROOM = 16, 4
LAYERS = ("CONV_2D", "FULLY_CONNECTED")
_MOVES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "PAD", "RESIZE_NEAREST_NEIGHBOR")
_PLAIN = ("CONCATENATION", "AVERAGE_POOL_2D", "MAX_POOL_2D")  # without a fused activation


def passes(tensors: Sequence[Tensor], node: Node) -> bool:
    """Whether a node makes of int16 what it makes of INT8, in the same steps; QUANTIZE is not needed then."""
    if node.kind in _PLAIN:
        found = not node.options.get("fusedActivationFunction", 0)
    else:
        found = node.kind in (*_MOVES, "QUANTIZE")
    return found and all(tensors[i].dtype == np.int8 for i in (*carried(tensors, node), *node.outputs))


def carried(tensors: Sequence[Tensor], node: Node) -> list[int]:
    """The inputs of such a node that are no constants."""
    return [i for i in node.inputs if i >= 0 and tensors[i].data is None]


def ranges(tensors: Sequence[Tensor], nodes: Sequence[Node], fixed: Mapping[int, Range]) -> dict[int, Range]:
    """The range of each INT8 tensor's int16 one. fixed: of those that exist beside it."""
    root = list(range(len(tensors)))

    def find(index: int) -> int:
        while root[index] != index:
            index = root[index]
        return index

    for node in nodes:
        if passes(tensors, node):
            for index in carried(tensors, node):
                root[find(index)] = find(node.outputs[0])
    groups: dict[int, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.data is None and tensor.dtype == np.int8 and tensor.scales:
            groups.setdefault(find(tensor.index), []).append(tensor)
    layers = {node.outputs[0] for node in nodes if node.kind in LAYERS}
    found: dict[int, Range] = {}
    for members in groups.values():
        numbers = [tensor.index for tensor in members]
        given = next((fixed[number] for number in numbers if number in fixed), None)
        room = ROOM if layers.intersection(numbers) else 1
        shared = given if given is not None and room == 1 else _range(members, room)
        found |= dict.fromkeys(numbers, shared)
    return found


def _range(members: Sequence[Tensor], room: int) -> Range:
    unit = max(tensor.scale for tensor in members) / FINER
    low = min((-128 - tensor.zero_point) * tensor.scale for tensor in members)
    high = max((127 - tensor.zero_point) * tensor.scale for tensor in members)
    return Range(unit, round(min(low, 0.0) * room / unit), round(max(high, 0.0) * room / unit))
