"""Reading a .tflite file (LiteRT's flatbuffer schema, version 3) into a `Graph`."""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.bundle.names import shown
from edge_ad.compile.integer.graph import Graph, Node, Tensor
from edge_ad.errors import MissingDependencyError, ModelError

MAX_FILE_BYTES = 256 << 20
MAX_TENSOR = 1 << 26  # elements
IDENTIFIER = b"TFL3"
_DTYPES = {"INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "UINT8": np.uint8,
           "BOOL": np.bool_, "FLOAT32": np.float32}  # fmt: skip


def read_tflite(path: Path) -> Graph:
    """The one subgraph of a full-INT8 .tflite file. Raises ModelError that names the node or tensor at fault."""
    return parse_tflite(read_content(path), where=str(path))


def read_content(path: Path) -> bytes:
    """The file's bytes. Raises ModelError for one that cannot be read or is too large."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError("is too large for a board (over 256 MiB)", where=path)
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror})", where=path) from error


def parse_tflite(raw: bytes, *, where: str = "model.tflite", floats: bool = False) -> Graph:
    """As `read_tflite`, of the file's content. floats: it is one in float32, to be read and not to be lowered."""
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise MissingDependencyError(
            "reading .tflite files needs the package 'ai-edge-litert'", hint="pip install 'edge-ad[compile]'"
        ) from error
    if raw[4:8] != IDENTIFIER:
        raise ModelError("is no .tflite file", where=where, hint="convert the network to LiteRT first")
    try:
        model = schema.ModelT.InitFromPackedBuf(raw, 0)
        return _graph(model, schema, raw, where, floats)
    except (
        struct.error,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        MemoryError,
    ) as error:
        raise ModelError(f"is damaged ({type(error).__name__})", where=where) from error


def _graph(model: Any, schema: Any, content: bytes, where: str, floats: bool) -> Graph:
    if len(model.subgraphs) != 1:
        raise ModelError(f"has {len(model.subgraphs)} subgraphs, a board runs one", where=where)
    subgraph = model.subgraphs[0]
    kinds = _names(schema.BuiltinOperator)
    types = _names(schema.TensorType)
    data = constants_of(model, content)
    tensors = tuple(_tensor(i, t, data, types, where) for i, t in enumerate(subgraph.tensors))
    nodes = tuple(_node(i, op, model.operatorCodes, kinds) for i, op in enumerate(subgraph.operators))
    graph = Graph(tensors, nodes, _indices(subgraph.inputs), _indices(subgraph.outputs))
    _check(graph, where, floats)
    return graph


def _names(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _indices(values: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in (() if values is None else values))


def constants_of(model: Any, content: bytes) -> list[bytes | None]:
    """The bytes of a parsed file's buffers."""
    return [_data(buffer, content) for buffer in model.buffers]


def _data(buffer: Any, content: bytes) -> bytes | None:
    """A constant's bytes, which lie in the buffer or, as newer converters write them, elsewhere in the file."""
    if buffer.data is not None and len(buffer.data):
        return np.asarray(buffer.data, np.uint8).tobytes()
    offset, size = (int(getattr(buffer, name, 0) or 0) for name in ("offset", "size"))
    if offset <= 1 or size <= 1:  # 1: a place holder
        return None
    if offset + size > len(content):
        raise ValueError("a buffer lies outside of the file")
    return content[offset : offset + size]


def _tensor(
    index: int, tensor: Any, buffers: list[bytes | None], types: dict[int, str], where: str
) -> Tensor:
    name = shown((tensor.name or b"").decode(errors="replace"))
    shape = _indices(tensor.shape)
    kind = types.get(tensor.type, str(tensor.type))
    if kind not in _DTYPES:
        raise ModelError(f"tensor {index} '{name}' is of type {kind}", where=where, hint="use full INT8")
    if any(extent <= 0 for extent in shape):
        raise ModelError(f"tensor {index} '{name}' has no static shape", where=where, hint="fix its shape")
    if prod(shape) > MAX_TENSOR:
        raise ModelError(
            f"tensor {index} '{name}' has {prod(shape)} elements, too many for a board", where=where
        )
    dtype = np.dtype(_DTYPES[kind])
    raw = buffers[tensor.buffer]
    data = None
    if raw is not None:
        data = np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    q = tensor.quantization
    scales: tuple[float, ...] = ()
    zeros: tuple[int, ...] = ()
    if q is not None and q.scale is not None and len(q.scale):
        scales = tuple(float(np.float32(s)) for s in q.scale)
        zeros = _indices(q.zeroPoint) or (0,) * len(scales)
    return Tensor(
        index, name, shape, dtype, scales, zeros, 0 if q is None else int(q.quantizedDimension), data
    )


def _node(index: int, operator: Any, codes: Any, kinds: dict[int, str]) -> Node:
    code = codes[operator.opcodeIndex]
    kind = kinds.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
    options = {} if operator.builtinOptions is None else dict(vars(operator.builtinOptions))
    return Node(index, kind, _indices(operator.inputs), _indices(operator.outputs), options)


def _check(graph: Graph, where: str, floats: bool) -> None:
    """Indices in range, each tensor written once, before it is read; activations INT8 with one scale if not floats."""
    n = len(graph.tensors)
    written = {t.index for t in graph.tensors if t.data is not None} | set(graph.inputs)
    for node in graph.nodes:
        if any(not -1 <= i < n for i in node.inputs) or any(not 0 <= i < n for i in node.outputs):
            raise ModelError(f"{node} names a tensor that does not exist", where=where)
        missing = [i for i in node.inputs if i >= 0 and i not in written]
        if missing:
            raise ModelError(f"{node} reads tensor {missing[0]} before it is written", where=where)
        if set(node.outputs) & written:
            raise ModelError(f"{node} writes a tensor that has a value already", where=where)
        written |= set(node.outputs)
        for tensor in (graph.tensors[i] for i in (*node.inputs, *node.outputs) if i >= 0):
            if tensor.data is None and not floats:
                _check_activation(tensor, str(node), where)
    for index in graph.outputs:
        if not 0 <= index < n or index not in written:
            raise ModelError(f"no node writes the output tensor {index}", where=where)


def _check_activation(tensor: Tensor, node: str, where: str) -> None:
    if tensor.dtype != np.int8:
        raise ModelError(
            f"{node} works on {tensor.dtype} ('{tensor.name}')", where=where,
            hint="a board runs full INT8: quantize inputs and outputs too, and avoid operators kept in float",
        )  # fmt: skip
    if len(tensor.scales) != 1 or not 0 < tensor.scale < float("inf") or not -128 <= tensor.zero_point <= 127:
        raise ModelError(f"'{tensor.name}' of {node} has no scale and zero point of its own", where=where)
