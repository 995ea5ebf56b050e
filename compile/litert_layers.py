"""What of a .tflite network stays in float32 when some of its layers shall: the tensors that those make, by which the
quantizer tells operators apart, and what lies between them.

LiteRT rounds what an operator *gives*. So what stands behind a layer that is kept, a norm or a pooling, computes on in
float32 until a quantized layer takes it, and the file's own inputs and outputs are float32 where only kept layers take
and make them.
"""

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
class InFloat:
    """tensors: names of those whose operators stay in float32. inputs, outputs: whether the file's own are."""

    tensors: tuple[str, ...] = ()
    inputs: bool = False
    outputs: bool = False


@dataclass(frozen=True)
class _Operator:
    """kind: LiteRT's name of it. made: its first output's name. given: activations that it takes. fixed: whether it
    takes a constant, too."""

    kind: str
    made: str
    given: tuple[str, ...]
    fixed: bool


@dataclass(frozen=True)
class _File:
    operators: list[_Operator]
    inputs: list[str]
    outputs: list[str]


def in_float(content: bytes, layers: Sequence[Layer], network: str, kept: Sequence[str]) -> InFloat:
    """What stays in float32 of the float .tflite file of `network` when the layers called `kept` do.

    Raises TargetError where the file's layers cannot be told apart.
    """
    if not kept:
        return InFloat()
    file = _read(content)
    layer_of = {tensor: name for name, tensor in _tensors(file.operators, layers, network).items()}
    wanted = {tensor for tensor, name in layer_of.items() if name in kept}
    takers = _takers(file, set(layer_of))
    inputs = all(taker in wanted for name in file.inputs for taker in takers[name])
    floats = set(file.inputs) if inputs else set()
    for operator in file.operators:
        if operator.made in wanted or (operator.made not in layer_of and floats.issuperset(operator.given)):
            floats.add(operator.made)
    made = tuple(operator.made for operator in file.operators if operator.made in floats)
    return InFloat(made, inputs, floats.issuperset(file.outputs))


def _takers(file: _File, layers: set[str]) -> dict[str, set[str]]:
    """The layers (by what they make) that take a tensor next, whatever lies between; those of the file's inputs."""
    found: dict[str, set[str]] = {name: set() for name in file.inputs}
    for operator in reversed(file.operators):
        mine = {operator.made} if operator.made in layers else found.get(operator.made, set())
        for name in operator.given:
            found.setdefault(name, set()).update(mine)
    return found


def _tensors(operators: Sequence[_Operator], layers: Sequence[Layer], network: str) -> dict[str, str]:
    """Names of the tensors that the layers of `network` make in its float .tflite file, by the layers' names.

    Weighted operators follow each other as in the exported network; a sum is found by its module, which the converter
    puts into a tensor's name; one that the converter has merged into another operator is left out. Raises TargetError
    where the file has other ones.
    """
    own = [layer for layer in layers if layer.network == network]
    weighted = with_weights([operator.kind for operator in operators], layers, network, "litert")
    found = {layer.name: operators[at].made for layer, at in weighted}
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


def with_weights(
    kinds: Sequence[str], layers: Sequence[Layer], network: str, target: str
) -> list[tuple[Layer, int]]:
    """The layers of `network` that have weights, each with the place of its operator in a .tflite file whose operators
    are of these kinds: they follow each other as in the exported network. Raises TargetError where the file has others.
    """
    weighted = [layer for layer in layers if layer.network == network and layer.kind != "Sum"]
    there = [at for at, kind in enumerate(kinds) if _KINDS.get(kind, "Sum") != "Sum"]
    if [_KINDS[kinds[at]] for at in there] != [layer.kind for layer in weighted]:
        raise TargetError(
            "LiteRT's converter has made other layers of the network, so that none can be kept by name",
            where=target, hint="take onnx-cpu or openvino-cpu, which run on the same boards" if target == "litert"
            else "leave --keep away",
        )  # fmt: skip
    return list(zip(weighted, there, strict=True))


def _read(content: bytes) -> _File:
    """A float file with one subgraph."""
    from ai_edge_litert import schema_py_generated as schema

    model: Any = schema.ModelT.InitFromPackedBuf(content, 0)
    kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    graph = model.subgraphs[0]
    names = [tensor.name.decode() for tensor in graph.tensors]

    def is_constant(index: int) -> bool:
        buffer = model.buffers[graph.tensors[index].buffer]
        return bool((buffer.data is not None and len(buffer.data)) or (buffer.offset or 0) > 1)

    operators = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = kinds.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
        given = [i for i in operator.inputs if i >= 0]
        active = tuple(names[i] for i in given if not is_constant(i))
        operators.append(_Operator(kind, names[operator.outputs[0]], active, len(active) < len(given)))
    return _File(operators, [names[i] for i in graph.inputs], [names[i] for i in graph.outputs])


def _module(tensor: str) -> str:
    """`…Core/…Sequential_mixers/…Mixer_0;3` to `mixers.0`."""
    parts = re.sub(r";\d*$", "", tensor).split("/")[1:]
    return ".".join(part.rpartition(".")[2].partition("_")[2] for part in parts)
