"""What a network with layers in 16 bits computes, by definition: LiteRT's reference kernels run what the file has, in
files of their own; all else is by the functions of `edge_ad.runtime.integer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edge_ad.compile.integer.graph import NO_NODE, Array, Graph, Node
from edge_ad.compile.integer.int16 import int16_of, pads_around
from edge_ad.compile.integer.kept.subfile import Subfile
from edge_ad.compile.integer.operators.convolution import LIMITS, PADS
from edge_ad.compile.integer.operators.resize import resize_tables
from edge_ad.runtime.integer.layers16 import Scaling, convolution16, dense16
from edge_ad.runtime.integer.narrow import narrow
from edge_ad.runtime.integer.wider import pool16, widen

Values = dict[int, Array]


@dataclass
class Mixed:
    """content: the INT8 file that `graph` was made of. The graph's nodes are the file's, or have a definition here."""

    content: bytes
    graph: Graph

    def run(self, inputs: Sequence[Array], wanted: Sequence[int]) -> list[Array]:
        """What the graph makes of these tensors, in their shapes, of integers of the inputs' sizes."""
        tensors = self.graph.tensors
        values: Values = {
            index: value.reshape(tensors[index].shape)
            for index, value in zip(self.graph.inputs, inputs, strict=True)
        }
        for step in self._steps:
            if isinstance(step, Subfile):
                values |= step.run(values)
            else:
                values[step.outputs[0]] = self._own(step, values)
        return [values[index] for index in wanted]

    @cached_property
    def _steps(self) -> list[Subfile | Node]:
        """Runs of the file's own nodes go together."""
        steps: list[Subfile | Node] = []
        pending: list[Node] = []

        def flush() -> None:
            if pending:
                steps.append(Subfile.of(self.content, self.graph, pending))
                pending.clear()

        for node in self.graph.nodes:
            if self._of_the_file(node):
                pending.append(node)
            else:
                flush()
                steps.append(node)
        flush()
        return steps

    def _of_the_file(self, node: Node) -> bool:
        return node.index != NO_NODE and all(
            self.graph.tensors[i].dtype == np.int8
            for i in (*node.inputs, *node.outputs)
            if i >= 0 and self.graph.tensors[i].data is None
        )

    def _own(self, node: Node, values: Mapping[int, Array]) -> Array:
        tensors = self.graph.tensors
        x, output = values[node.inputs[0]], tensors[node.outputs[0]]
        define = _DEFINITIONS.get(node.kind)
        if define is None:
            raise ValueError(f"{node} has no definition in int16")
        given = [values.get(index, tensors[index].data) for index in node.inputs if index >= 0]
        return np.asarray(define(self.graph, node, x, given)).reshape(output.shape).astype(output.dtype)


def _convolution16(graph: Graph, node: Node, x: Array, given: Sequence[Any]) -> Array:
    _, weights, bias, multipliers = given
    low, high = node.options[LIMITS]
    scaling = Scaling(np.stack([bias, multipliers]).astype(np.int64), node.options["shift"], low, high)
    if weights.ndim == 2:
        return dense16(x.astype(np.int64).reshape(-1, weights.shape[1]), weights, scaling)
    return convolution16(
        x[0].astype(np.int64), weights, scaling, stride=node.options["stride"], pad=node.options[PADS],
        out=graph.tensors[node.outputs[0]].shape[1:3],  # type: ignore[arg-type]
    )  # fmt: skip


def _int16_convolution(graph: Graph, node: Node, x: Array, given: Sequence[Any]) -> Array:
    return int16_of(graph, node, graph.tensors[node.outputs[0]].scale, x, node.options[LIMITS])


def _narrow(graph: Graph, node: Node, x: Array, given: Sequence[Any]) -> Array:
    zero = graph.tensors[node.outputs[0]].zero_point
    return narrow(x.astype(np.int16), node.options["multiplier"], node.options["shift"], zero)


def _widen(graph: Graph, node: Node, x: Array, given: Sequence[Any]) -> Array:
    zero = graph.tensors[node.inputs[0]].zero_point
    return widen(x.astype(np.int8), node.options["multiplier"], node.options["shift"], zero)


def _pool(graph: Graph, node: Node, x: Array, given: Sequence[Any]) -> Array:
    o, output = node.options, graph.tensors[node.outputs[0]]
    kernel, stride = (o["filterHeight"], o["filterWidth"]), (o["strideH"], o["strideW"])
    top, _, left, _ = pads_around(node, graph.tensors[node.inputs[0]], output, kernel, stride)
    return pool16(
        x[0].astype(np.int16), kernel, stride, (top, left), (output.shape[1], output.shape[2]),
        maximum=node.kind == "MAX_POOL_2D",
    )  # fmt: skip


def _resize(graph: Graph, node: Node, x: Array, given: Sequence[Any]) -> Array:
    source, output = (graph.tensors[i] for i in (node.inputs[0], node.outputs[0]))
    places = resize_tables(node, source, output)
    rows, columns = places[: output.shape[1]], places[output.shape[1] :]
    return x[:, rows][:, :, columns]


def _concatenation(graph: Graph, node: Node, x: Array, given: Sequence[Any]) -> Array:
    return np.concatenate(given, axis=node.options["axis"])


_DEFINITIONS: dict[str, Callable[[Graph, Node, Array, Sequence[Any]], Array]] = {
    "convolution16": _convolution16,
    "CONV_2D": _int16_convolution,
    "narrow": _narrow,
    "widen": _widen,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "CONCATENATION": _concatenation,
    "TRANSPOSE": lambda graph, node, x, given: x.transpose(given[1].ravel().tolist()),
    "PAD": lambda graph, node, x, given: np.pad(x, given[1].reshape(-1, 2).tolist()),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), lambda graph, node, x, given: x),
}
