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
# Those that its parser knows since 8.2 (docs/operators.md of onnx-tensorrt), without control flow and randomness.
_NAMES = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip Concat
Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal
Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool
GlobalMaxPool Greater GreaterOrEqual HardSigmoid Identity InstanceNormalization IsNaN LRN LSTM LeakyRelu Less
LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul Max MaxPool Mean Min Mul Neg Not Or PRelu Pad Pow
QuantizeLinear RNN Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence Round ScatterElements ScatterND Selu Shape Sigmoid Sign
Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile
TopK Transpose Unsqueeze Where
"""
OPERATORS = frozenset(_NAMES.split())
# And since 8.5 and 8.6 to 10.3.
_SINCE_8_5 = (
    "GridSample HardSwish MeanVarianceNormalization Mod NonZero OneHot Reciprocal RoiAlign Shrink Trilu Xor"
)
SINCE_8_5 = frozenset(_SINCE_8_5.split())
SINCE_10_3 = SINCE_8_5 | {"DeformConv", "GroupNormalization", "Hardmax", "IsInf", "LayerNormalization"}


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
