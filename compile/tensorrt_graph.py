"""What TensorRT's rules ask of an ONNX network: the device's limits, and the network with who makes and takes what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import numpy_helper

from edge_ad.compile.onnx_graphs import attributes, constants

Q, DQ = "QuantizeLinear", "DequantizeLinear"
MOVES = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze")
# Of the operators that TensorRT's parser knows, those that detectors are made of.
_NAMES = """
Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv
ConvTranspose Cos DepthToSpace DequantizeLinear Div Einsum Elu Equal Erf Exp Expand Flatten Floor Gather
GatherElements Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual HardSigmoid HardSwish Identity
InstanceNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max MaxPool Mean Min Mul Neg Not Or
PRelu Pad Pow QuantizeLinear ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
ReduceSum ReduceSumSquare Relu Reshape Resize Round Shape Sigmoid Sign Sin Slice Softmax Softplus Softsign
SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose Unsqueeze Where Xor
"""
OPERATORS = frozenset(_NAMES.split())


@dataclass(frozen=True)
class TensorRt:
    """A TensorRT and the GPU below it. opset: newest that its parser reads. int8: whether the GPU has it. uint8_inputs:
    whether a network may take bytes. more: operators beyond `OPERATORS`."""

    version: str
    opset: int
    int8: bool = True
    uint8_inputs: bool = True
    more: frozenset[str] = frozenset()


class Graph:
    """A model with what the rules ask of it."""

    def __init__(self, model: onnx.ModelProto, device: TensorRt):
        self.model, self.device = model, device
        self.graph = model.graph
        self.constants = constants(model.graph)

    @cached_property
    def producers(self) -> dict[str, onnx.NodeProto]:
        """The node that makes a tensor."""
        return {output: node for node in self.graph.node for output in node.output}

    @cached_property
    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        """The nodes that take a tensor."""
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """The initialisers and constants by name."""
        found = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        for node in self.graph.node:
            if node.op_type == "Constant" and "value" in attributes(node):
                found[node.output[0]] = numpy_helper.to_array(attributes(node)["value"])
        return found

    def nodes(self, *kinds: str) -> Iterator[onnx.NodeProto]:
        """Those of these types."""
        return (node for node in self.graph.node if node.op_type in kinds)

    def made_by(self, name: str, *kinds: str) -> onnx.NodeProto | None:
        """The producer of a tensor, if it is of one of these types."""
        node = self.producers.get(name)
        return node if node is not None and node.op_type in kinds else None

    def quantized(self, name: str) -> bool:
        """Whether a tensor comes out of a DequantizeLinear."""
        return self.made_by(name, DQ) is not None

    def moved_from(self, name: str) -> str:
        """The tensor whose values these are, behind operators that only move them."""
        while (node := self.made_by(name, *MOVES)) is not None:
            name = node.input[0]
        return name
