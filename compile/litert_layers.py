"""Layers of a .tflite network: the tensors that they make, by which the quantizer tells operators apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_ad.compile.layers import Kind, Layer
from edge_ad.errors import TargetError

_KINDS: dict[str, Kind] = {
    "CONV_2D": "Conv", "DEPTHWISE_CONV_2D": "Conv", "TRANSPOSE_CONV": "ConvTranspose",
    "FULLY_CONNECTED": "MatMul", "BATCH_MATMUL": "MatMul", "ADD": "Sum",
}  # fmt: skip


@dataclass(frozen=True)
class _Operator:
    """kind: LiteRT's name of it. made: its first output's name. fixed: whether one of its inputs is a constant."""

    kind: str
    made: str
    fixed: bool


def tensors_of(content: bytes, layers: Sequence[Layer], network: str) -> dict[str, str]:
    """Names of the tensors that the layers of `network` make in its float .tflite file, by the layers' names.

    Weighted operators follow each other as in the exported network; a sum is found by its module, which the converter
    puts into a tensor's name; one that the converter has merged into another operator is left out. Raises TargetError where the file has other ones.
    """
    operators = _operators(content)
    own = [layer for layer in layers if layer.network == network]
    weighted = [layer for layer in own if layer.kind != "Sum"]
    there = [operator for operator in operators if _KINDS.get(operator.kind, "Sum") != "Sum"]
    if [_KINDS[operator.kind] for operator in there] != [layer.kind for layer in weighted]:
        raise TargetError("LiteRT's converter has made other layers of the network, so that none can be kept by name",
                          where="litert", hint="take onnx-cpu or openvino-cpu, which run on the same boards")  # fmt: skip
    found = {layer.name: operator.made for layer, operator in zip(weighted, there, strict=True)}
    sums: dict[str, list[str]] = {}
    for operator in operators:
        if operator.kind == "ADD" and not operator.fixed:
            sums.setdefault(_module(operator.made), []).append(operator.made)
    for layer in own:
        if layer.kind == "Sum":
            path, _, number = layer.local.partition("#")
            made = sums.get(path.removesuffix("sum").removesuffix("."), [])
            place = int(number or 1) - 1
            if place < len(made):
                found[layer.name] = made[place]
    return found


def _operators(content: bytes) -> list[_Operator]:
    """Of a float file with one subgraph, in their order."""
    from ai_edge_litert import schema_py_generated as schema

    model: Any = schema.ModelT.InitFromPackedBuf(content, 0)
    kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    tensors = model.subgraphs[0].tensors
    found = []
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = kinds.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
        buffers = [model.buffers[tensors[i].buffer] for i in operator.inputs if i >= 0]
        fixed = any((b.data is not None and len(b.data)) or (b.offset or 0) > 1 for b in buffers)
        found.append(_Operator(kind, tensors[operator.outputs[0]].name.decode(), fixed))
    return found


def _module(tensor: str) -> str:
    """`…Core/…Sequential_mixers/…Mixer_0;3` to `mixers.0`."""
    parts = re.sub(r";\d*$", "", tensor).split("/")[1:]
    return ".".join(part.rpartition(".")[2].partition("_")[2] for part in parts)
