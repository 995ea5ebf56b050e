"""A graph with INT8 layers, as one in which some of them are kept in 16 bits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge_ad.compile.integer.draft import Draft
from edge_ad.compile.integer.fold import pads_of
from edge_ad.compile.integer.graph import NO_NODE, Graph, Node, Tensor
from edge_ad.compile.integer.kept.layers import KeptLayer, Layers, why_not
from edge_ad.compile.integer.kept.ranges import FINER, LAYERS, carried, passes, ranges
from edge_ad.compile.integer.layers16 import Range, rounded
from edge_ad.compile.integer.operators.convolution import LIMITS, PADS, VALID, padding
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.runtime.integer.functions import Int64

_PIXEL_ZERO = -128  # of pixels in INT8
_CLAMPS = {1: (0.0, math.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}  # by fused activation


@dataclass(frozen=True)
class Rewritten:
    """graph: with the layers in 16 bits. notes: of each layer a sentence for the report."""

    graph: Graph
    notes: tuple[str, ...]


def rewritten(graph: Graph, kept: Layers, target: str) -> Rewritten:
    """`graph` with the layers `kept` in 16 bits; others stay, but that one before a kept layer gives int16.

    An output of int16 (see `detectors.images.gives_int16`) stays one where its layer is kept. Raises TargetError for a
    layer whose sums are too coarse for what it gives.
    """
    if not kept:
        return Rewritten(graph, ())
    return _Writer(graph, kept, target).write()


class _Writer:
    """twins: of an INT8 tensor its int16 one. wide: INT8 tensors that are asked for in int16; read: tensors that are
    asked for as they are."""

    def __init__(self, graph: Graph, kept: Layers, target: str):
        self.graph, self.kept, self.target = graph, kept, target
        self.draft = Draft(graph)
        self.draft.nodes = []
        self.writers = {output: node for node in graph.nodes for output in node.outputs}
        narrowed = (node for node in graph.nodes if node.kind == "narrow")
        fixed = {node.outputs[0]: Range(graph.tensors[node.inputs[0]].scale) for node in narrowed}
        self.ranges = ranges(graph.tensors, graph.nodes, fixed)
        self.fixed = fixed
        self.twins: dict[int, int] = {}
        self.notes: list[str] = []
        self.wide: set[int] = set()
        self.read = set(graph.outputs)
        for node in reversed(graph.nodes):
            self._ask(node)

    def write(self) -> Rewritten:
        for index in self.graph.inputs:
            if index in self.wide:
                self._widen(index)
        for node in self.graph.nodes:
            output = node.outputs[0]
            if not self._alive(node):
                continue
            if self._is_kept(node):
                self._keep(node, self.kept[node.index])
            elif output in self.wide and self._gives(node):
                self._give(node)
            else:
                self.draft.nodes.append(node)
                if output in self.wide:
                    self._widen(output)
        used = {i for node in self.draft.nodes for i in node.inputs}
        self.draft.tensors = [t if t.index in used else replace(t, data=None) for t in self.draft.tensors]
        return Rewritten(self.draft.graph(self.graph.inputs, self.graph.outputs), tuple(self.notes))

    def _alive(self, node: Node) -> bool:
        return any(output in self.read or output in self.wide for output in node.outputs)

    def _is_kept(self, node: Node) -> bool:
        return node.index != NO_NODE and node.index in self.kept

    def _ask(self, node: Node) -> None:
        """What a node takes is asked for; of those behind it is known what they ask for."""
        if not self._alive(node):
            return
        tensors = self.graph.tensors
        if self._is_kept(node):
            self.wide.add(self._source(node)[0])
        elif node.outputs[0] in self.wide and passes(tensors, node) and self._gives(node):
            self.wide.update(carried(tensors, node))
        else:
            self.read.update(index for index in node.inputs if index >= 0)

    def _source(self, node: Node) -> tuple[int, tuple[int, int] | None]:
        """What a kept layer takes, and the padding of a PAD before it that it does itself."""
        before = self.writers.get(node.inputs[0])
        if (
            before is None
            or node.kind != "CONV_2D"
            or node.options["padding"] != VALID
            or PADS in node.options
        ):
            return node.inputs[0], None
        pads = pads_of(self.graph.tensors, before)
        return (node.inputs[0], None) if pads is None else (before.inputs[0], pads)

    def _gives(self, node: Node) -> bool:
        """Whether a node can give int16 that has more than INT8 has."""
        output = self.graph.tensors[node.outputs[0]]
        if self._is_kept(node):
            return True
        if node.kind == "pixels":
            return self._is_pixels(output)
        if node.kind == "narrow":
            return self.ranges[output.index] == self.fixed[output.index]
        if passes(self.graph.tensors, node):
            return any(self._comes(index) for index in carried(self.graph.tensors, node))
        return node.kind in LAYERS and why_not(self.graph, node) is None and self._fits(node)

    def _comes(self, index: int) -> bool:
        return index in self.writers and self._gives(self.writers[index])

    def _is_pixels(self, tensor: Tensor) -> bool:
        found = self.ranges[tensor.index].unit == tensor.scale / FINER and tensor.zero_point == _PIXEL_ZERO
        return found and tensor.dtype == np.int8

    def _fits(self, node: Node) -> bool:
        """Whether an INT8 layer's sums, of 32 bits, stay so at the steps of its int16 result."""
        source, weights = (self.graph.tensors[index] for index in node.inputs[:2])
        assert weights.data is not None
        bias = (
            self.graph.tensors[node.inputs[2]].data if len(node.inputs) > 2 and node.inputs[2] >= 0 else None
        )
        sums = 255 * np.abs(weights.data.astype(np.int64)).reshape(len(weights.data), -1).sum(1)
        largest = int(sums.max()) + (0 if bias is None else int(np.abs(bias.astype(np.int64)).max()))
        ratio = source.scale * max(weights.scales) / self.ranges[node.outputs[0]].unit
        return largest << max(0, math.ceil(math.log2(ratio))) < 1 << 31

    def _keep(self, node: Node, layer: KeptLayer) -> None:
        source, folded = self._source(node)
        output = self.graph.tensors[node.outputs[0]]
        if output.dtype == np.int16:
            result = Range(output.scale, *node.options[LIMITS])
        else:
            result = _clamped(self.ranges[output.index], node.options.get("fusedActivationFunction", 0))
        weights, scaling = rounded(
            layer.weights, layer.bias, self.ranges[source], result, where=f"{self.target}, {layer.name}"
        )
        bias, multipliers = scaling.channels
        constants = [self._constant(weights, np.int16), self._constant(bias, np.int32)]
        constants.append(self.draft.constant(multipliers.astype(np.int32)))
        index = output.index if output.dtype == np.int16 else self._twin(output.index, result)
        options = {"stride": node.options.get("strideH", 1), PADS: self._pads(node, folded),
                   "shift": scaling.shift, LIMITS: (scaling.low, scaling.high)}  # fmt: skip
        inputs = (self.twins[source], *constants)
        self.draft.nodes.append(Node(node.index, "convolution16", inputs, (index,), options))
        if output.dtype == np.int8:
            self._narrow(output.index)
        bits = int(np.abs(weights).max()).bit_length() + 1
        coarse = " Its input was rounded to 8 bits before it came." if self._coarse(source) else ""
        self.notes.append(f"{layer.name} takes and gives int16, with weights of {bits} bits.{coarse}")

    def _pads(self, node: Node, folded: tuple[int, int] | None) -> tuple[int, int]:
        if node.kind != "CONV_2D":
            return 0, 0
        if folded is not None or PADS in node.options:
            return folded or node.options[PADS]
        shape, taps = (self.graph.tensors[i].shape[1:3] for i in node.inputs[:2])
        stride = node.options["strideH"]
        top, left = (
            padding(node.options["padding"], n, k, stride, 1)[1] for n, k in zip(shape, taps, strict=True)
        )
        return top, left

    def _coarse(self, index: int) -> bool:
        """Whether something of a tensor comes of INT8."""
        node = self.writers.get(index)
        if node is not None and passes(self.graph.tensors, node):
            return any(self._coarse(i) for i in carried(self.graph.tensors, node))
        return node is None or not self._gives(node)

    def _give(self, node: Node) -> None:
        """A node that is not kept gives int16."""
        output = node.outputs[0]
        if node.kind in ("pixels", "narrow"):
            if output in self.read:
                self.draft.nodes.append(node)
            if node.kind == "narrow":
                self.twins[output] = node.inputs[0]
                return
            options = node.options | {"shift": FINER.bit_length() - 1}
            self._append(node, node.inputs, self._twin(output, self.ranges[output]), options)
            return
        if node.kind == "QUANTIZE":
            self.twins[output] = self.twins[node.inputs[0]]
        elif node.kind in LAYERS:
            self._straight(node)
        else:
            inputs = tuple(self.twins.get(index, index) for index in node.inputs)
            self._append(node, inputs, self._twin(output, self.ranges[output]), node.options)
        self._narrow(output)

    def _straight(self, node: Node) -> None:
        """An INT8 layer gives int16 straight out of its accumulator; a product as a convolution of pixels side by
        side."""
        output, tensors = node.outputs[0], self.draft.tensors
        result = _clamped(self.ranges[output], node.options.get("fusedActivationFunction", 0))
        options = {**node.options, LIMITS: (result.low, result.high), "fusedActivationFunction": 0}
        if node.kind == "CONV_2D":
            self._append(node, node.inputs, self._twin(output, result), options)
            return
        given, weights = (tensors[index] for index in node.inputs[:2])
        rows, depth = weights.shape
        count = given.size // depth
        pixels = self.draft.tensor((1, 1, count, depth), np.int8, given.scale, given.zero_point)
        self.draft.node("RESHAPE", [given.index], pixels)
        assert weights.data is not None
        kernel = self.draft.constant(weights.data.reshape(rows, 1, 1, depth))
        tensors[kernel] = replace(tensors[kernel], scales=weights.scales, zero_points=weights.zero_points)
        made = self.draft.tensor((1, 1, count, rows), np.int16, result.unit)
        options = {LIMITS: (result.low, result.high), "padding": VALID, "strideH": 1, "strideW": 1}
        self.draft.nodes.append(
            Node(node.index, "CONV_2D", (pixels, kernel, *node.inputs[2:]), (made,), options)
        )
        self.draft.node("RESHAPE", [made], self._twin(output, result))

    def _append(self, node: Node, inputs: tuple[int, ...], output: int, options: dict[str, object]) -> None:
        self.draft.nodes.append(replace(node, inputs=inputs, outputs=(output,), options=options))

    def _twin(self, index: int, result: Range) -> int:
        """A new int16 tensor that stands in for an INT8 one."""
        tensor = self.graph.tensors[index]
        self.twins[index] = self.draft.tensor(tensor.shape, np.int16, result.unit, 0, tensor.name)
        return self.twins[index]

    def _constant(self, values: Int64, dtype: type[np.integer[Any]]) -> int:
        """One that counts as parameters."""
        index = self.draft.constant(values.astype(dtype))
        self.draft.tensors[index] = replace(self.draft.tensors[index], scales=(1.0,), zero_points=(0,))
        return index

    def _narrow(self, index: int) -> None:
        """An INT8 tensor of its int16 one, where somebody reads it."""
        if index in self.read:
            tensor = self.graph.tensors[index]
            multiplier, shift = quantize_multiplier(self.ranges[index].unit / tensor.scale)
            self.draft.node("narrow", [self.twins[index]], index, multiplier=multiplier, shift=shift)

    def _widen(self, index: int) -> None:
        multiplier, shift = quantize_multiplier(self.graph.tensors[index].scale / self.ranges[index].unit)
        twin = self._twin(index, self.ranges[index])
        self.draft.node("widen", [index], twin, multiplier=multiplier, shift=shift)


def _clamped(result: Range, activation: int) -> Range:
    """With a fused activation, as of LiteRT's schema."""
    low, high = _CLAMPS.get(activation, (-math.inf, math.inf))
    steps = (max(result.low, low / result.unit), min(result.high, high / result.unit))
    return Range(result.unit, *(round(step) for step in steps))
