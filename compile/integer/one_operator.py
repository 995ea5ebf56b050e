"""What LiteRT's reference kernel makes of each of the 256 values, for operators that work value by value.

Such an operator becomes a table. Its table is read off the reference kernel itself, run once while compiling on a
file with that one operator, and not computed a second time here: the kernels of these operators share no arithmetic
(HARD_SWISH works in 16 bits, LOGISTIC in fixed point, TANH and GELU in float), the definition is that kernel's
result, and an operator costs one line.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.graph import Node, Tensor
from edge_ad.compile.integer.lower import Builder
from edge_ad.errors import MissingDependencyError

_OPTIONS = {"LEAKY_RELU": "LeakyReluOptions", "GELU": "GeluOptions", "ADD": "AddOptions", "SUB": "SubOptions",
            "MUL": "MulOptions"}  # fmt: skip


def value_table(builder: Builder, node: Node, varying: int) -> npt.NDArray[np.int8]:
    """(256,) results of `node` when tensor `varying` is -128, …, 127; its other input, if any, is one constant value.

    Raises TargetError with LiteRT's own words where its kernel refuses the node.
    """
    try:
        return _table(_file(builder, node, varying)).copy()
    except ImportError as error:
        raise MissingDependencyError(
            "tables need the package 'ai-edge-litert'", hint="pip install 'edge-ad[compile]'"
        ) from error
    except (RuntimeError, ValueError) as error:
        raise builder.refuse(
            node,
            f"LiteRT's reference kernel refuses it ({_reason(error)})",
            "quantize it as LiteRT specifies",
        ) from error


@lru_cache(maxsize=64)
def _table(content: bytes) -> npt.NDArray[np.int8]:
    """What the file's operator makes of all values; the stripes of one operator have one file."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.arange(-128, 128, dtype=np.int8))
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), np.int8)


def _reason(error: Exception) -> str:
    """LiteRT's message without the node's number, which is that in the file of one operator."""
    return str(error).strip().partition("\n")[0].partition("Node number")[0].rstrip(" .")


def _file(builder: Builder, node: Node, varying: int) -> bytes:
    """A .tflite file of `node` alone, from 256 values to 256 values."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph, code, operator = (
        schema.ModelT(),
        schema.SubGraphT(),
        schema.OperatorCodeT(),
        schema.OperatorT(),
    )
    code.builtinCode = getattr(schema.BuiltinOperator, node.kind)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    if node.kind in _OPTIONS:
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, _OPTIONS[node.kind])
        operator.builtinOptions = getattr(schema, _OPTIONS[node.kind] + "T")()
        vars(operator.builtinOptions).update(node.options)
    model.version, model.buffers, model.operatorCodes, model.subgraphs = (
        3,
        [schema.BufferT()],
        [code],
        [graph],
    )
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [operator], [0], [1]
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [], [1]
    source, result = builder.tensor(varying), builder.tensor(node.outputs[0])
    graph.tensors += [_tensor(schema, source, 256, 0), _tensor(schema, result, 256, 0)]
    for index in node.inputs:
        if index == varying:
            operator.inputs.append(0)
            continue
        constant = builder.tensor(index)
        assert constant.data is not None
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(constant.data.ravel()[:1].tobytes(), np.uint8)
        operator.inputs.append(len(graph.tensors))
        graph.tensors.append(_tensor(schema, constant, 1, len(model.buffers)))
        model.buffers.append(buffer)
    writer = flatbuffers.Builder(1024)
    writer.Finish(model.Pack(writer), b"TFL3")
    return bytes(writer.Output())


def _tensor(schema: Any, like: Tensor, size: int, buffer: int) -> Any:
    """A flat INT8 tensor, quantized as `like`."""
    tensor, quantization = schema.TensorT(), schema.QuantizationParametersT()
    quantization.scale = np.array([like.scale], np.float32)
    quantization.zeroPoint = np.array([like.zero_point], np.int64)
    tensor.shape, tensor.type, tensor.buffer, tensor.name = [size], schema.TensorType.INT8, buffer, ""
    tensor.quantization = quantization
    return tensor
