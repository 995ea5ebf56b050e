"""The INT8 network in the middle of a detector, with the layers of it that are kept in 16 bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.detectors.images import convolution_behind
from edge_ad.compile.integer.draft import Draft
from edge_ad.compile.integer.graph import Array, Graph, Node
from edge_ad.compile.integer.int16 import gives_int16, int16_of
from edge_ad.compile.integer.kept import Layers, Mixed, Rewritten, rewritten
from edge_ad.compile.integer.quantized import Quantized
from edge_ad.runtime.integer.convolution import LIMIT


@dataclass(frozen=True)
class End:
    """A convolution at the end of the network that gives int16: its step, and the lowest and highest value."""

    node: Node
    scale: float
    limits: tuple[int, int] = (-LIMIT, LIMIT)


Ends = Callable[[Array], list[npt.NDArray[np.int16]]]


@dataclass(frozen=True)
class Core:
    """quantized: the file that target `litert` runs. kept: layers of it that are in 16 bits here. target: whom errors
    speak for."""

    quantized: Quantized
    kept: Layers
    target: str

    @property
    def graph(self) -> Graph:
        """With all layers in INT8."""
        return self.quantized.graph

    def with_kept(self, graph: Graph) -> Rewritten:
        """A graph that was written around this one's nodes, with its layers kept."""
        return rewritten(graph, self.kept, self.target)

    def ends(self, ends: Sequence[End]) -> Ends:
        """By definition, of the network's INT8 input what each end gives, (h, w, c)."""
        if not self.kept:
            return lambda given: self._straight(given, ends)
        draft = Draft(self.graph)
        for index in self.graph.outputs:
            convolution_behind(draft, self.graph, index)
        made = [gives_int16(draft, end.node, end.scale, end.limits) for end in ends]
        mixed = Mixed(self.quantized.content, self.with_kept(draft.graph(self.graph.inputs, made)).graph)
        return lambda given: [found[0].astype(np.int16) for found in mixed.run([given], made)]

    def _straight(self, given: Array, ends: Sequence[End]) -> list[npt.NDArray[np.int16]]:
        inside = self.quantized.inside([given], [end.node.inputs[0] for end in ends])
        return [
            int16_of(self.graph, end.node, end.scale, features, end.limits)
            for end, features in zip(ends, inside, strict=True)
        ]
