"""Some operators of a .tflite file as a file of their own, run by LiteRT's reference kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_ad.compile.integer.graph import Array, Graph, Node
from edge_ad.compile.integer.quantized import Quantized
from edge_ad.compile.integer.read import constants_of


@dataclass
class Subfile:
    """inputs, outputs: tensors, by their numbers in the whole file."""

    file: Quantized
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @classmethod
    def of(cls, content: bytes, graph: Graph, nodes: Sequence[Node]) -> Subfile:
        """nodes: of the file `content`, in its order, as they stand in a graph of it."""
        made = [output for node in nodes for output in node.outputs]
        taken = dict.fromkeys(i for node in nodes for i in node.inputs if i >= 0)
        inputs = tuple(i for i in taken if i not in made and graph.tensors[i].data is None)
        return cls(Quantized.of(_file(content, nodes, inputs, made)), inputs, tuple(made))

    def run(self, values: Mapping[int, Array]) -> dict[int, Array]:
        """Its outputs of what it takes of these values."""
        found = self.file.reference([values[index] for index in self.inputs])
        return dict(zip(self.outputs, found, strict=True))


def _file(content: bytes, nodes: Sequence[Node], inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
    import flatbuffers
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer, data in zip(model.buffers, constants_of(model, content), strict=True):
        buffer.data, buffer.offset, buffer.size = None, 0, 0
        if data is not None:
            buffer.data = np.frombuffer(data, np.uint8)
    graph = model.subgraphs[0]
    graph.operators = [graph.operators[node.index] for node in nodes]
    graph.inputs, graph.outputs = list(inputs), list(outputs)
    model.signatureDefs, model.metadata = [], []
    writer = flatbuffers.Builder(len(content))
    writer.Finish(model.Pack(writer), b"TFL3")
    return bytes(writer.Output())
