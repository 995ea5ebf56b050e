"""Reading an ONNX file that anybody may have made: one float32 input, static shapes, standard operators, or one
clear line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper, inliner, shape_inference

from edge_ad.bundle.names import shown
from edge_ad.detectors.imported.graphs import WEIGHTED, dimensions, every_node, given, name_nodes, opset_of
from edge_ad.errors import ModelError

OLDEST_OPSET = 13  # below it weights cannot be quantized per channel
IR_VERSION = 8
_STANDARD = ("", "ai.onnx")
_QUANTIZED = (
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
    "MatMulInteger",
)  # fmt: skip
_EXPORT_AGAIN = "export it with fixed shapes, or give --shape"


def read_network(path: Path, shape: Sequence[int] | None = None) -> onnx.ModelProto:
    """The network in `path`: weights inside, shapes inferred, each node with a name of its own, brought to
    OLDEST_OPSET where it is older.

    shape: of the input, where the file leaves it open; a batch dimension that is open becomes 1. Raises ModelError.
    """
    model = _loaded(path)
    _check_operators(model, path)
    value = _only_input(model, path)
    _fix_shape(value, shape, path)
    model = _at_least(model, OLDEST_OPSET, path)
    model = _inferred(model, path)
    name_nodes(model.graph)
    return model


def told(shape: Sequence[int | None]) -> str:
    """A shape for a message, `?` for what is left open."""
    return f"({', '.join('?' if d is None else str(d) for d in shape)}{',' if len(shape) == 1 else ''})"


def first_line(error: Exception, beside: Path | None = None) -> str:
    """What a library's error says first, fit for a message. beside: a folder whose name is left out of it, since what
    matters may stand behind a long path."""
    text = str(error) if beside is None else str(error).replace(f"{beside}/", "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return shown(lines[0] if lines else type(error).__name__)


def _loaded(path: Path) -> onnx.ModelProto:
    """The file with its weights, functions of its own unfolded, weights no inputs. Raises ModelError."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
        opset_of(model)
        if model.functions:
            model = inliner.inline_local_functions(model)
    except FileNotFoundError as error:
        if not path.exists():
            raise ModelError("there is no such file", where=path) from error
        hint = "its external data must lie beside the .onnx file"
        raise ModelError(f"its weights are missing ({first_line(error)})", where=path, hint=hint) from error
    except Exception as error:  # protobuf's, onnx's and the operating system's errors share no base class
        raise ModelError(f"is no ONNX network ({first_line(error, path.parent)})", where=path) from error
    inputs = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in given(model.graph)]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, IR_VERSION)  # the oldest ones want weights among the inputs
    return model


def _check_operators(model: onnx.ModelProto, path: Path) -> None:
    """Raise ModelError for operators beyond the standard, networks that are quantized, and those without weights."""
    again = "export it with standard ONNX operators, and not quantized"
    for node in every_node(model.graph):
        if node.domain not in _STANDARD:
            what = (
                f"node {shown(node.name or node.op_type)} is a {shown(node.op_type)} of {shown(node.domain)}"
            )
            raise ModelError(f"{what}, which no target here has", where=path, hint=again)
        if node.op_type in _QUANTIZED:
            raise ModelError(
                f"is quantized already (node {shown(node.name or node.op_type)})", where=path,
                hint="export it in float32: it is quantized when it is compiled",
            )  # fmt: skip
    if model.graph.sparse_initializer:
        raise ModelError("holds sparse weights", where=path, hint="export it with dense ones")
    if not any(node.op_type in WEIGHTED for node in every_node(model.graph)):
        raise ModelError(
            "holds no convolution, matrix product or recurrent layer",
            where=path,
            hint="is it the whole network?",
        )
    standard = [entry for entry in model.opset_import if entry.domain in _STANDARD]
    del model.opset_import[:]
    model.opset_import.extend(standard)  # files name domains that nothing in them is of


def _only_input(model: onnx.ModelProto, path: Path) -> onnx.ValueInfoProto:
    inputs = list(model.graph.input)
    if len(inputs) != 1:
        names = ", ".join(shown(value.name) for value in inputs) or "none"
        raise ModelError(
            f"has {len(inputs)} inputs ({names}), one is needed", where=path,
            hint="export it with the others as constants",
        )  # fmt: skip
    kind = inputs[0].type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        integer = "leave its own preprocessing out of the export: --pixels, --mean and --std do that"
        floating = "export it in float32"
        raise ModelError(
            f"takes {TensorProto.DataType.Name(kind).lower()}, float32 is needed", where=path,
            hint=floating if kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE) else integer,
        )  # fmt: skip
    return inputs[0]


def _fix_shape(value: onnx.ValueInfoProto, shape: Sequence[int] | None, path: Path) -> None:
    """Give the input its static shape."""
    found = dimensions(value)
    if shape is None:
        if not found:
            raise ModelError("does not say the shape of its input", where=path, hint="--shape 1,3,256,256")
        shape = [1 if found[0] is None else found[0], *(0 if d is None else d for d in found[1:])]
        if 0 in shape:
            open_ = ", ".join(str(place) for place, size in enumerate(shape) if size == 0)
            raise ModelError(
                f"its input {told(found)} is not of a fixed shape (dimension {open_})", where=path,
                hint="export it with fixed shapes, or say the whole of it: --shape 1,3,256,256",
            )  # fmt: skip
    elif found and (
        len(found) != len(shape) or any(f not in (None, s) for f, s in zip(found, shape, strict=True))
    ):
        raise ModelError(f"takes {told(found)}, not {told(shape)}", where=path, hint="see --shape")
    if shape[0] != 1:
        raise ModelError(
            f"takes batches of {shape[0]}, one input at a time is needed", where=path,
            hint="export it for a batch of 1",
        )  # fmt: skip
    value.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, list(shape)))


def _at_least(model: onnx.ModelProto, opset: int, path: Path) -> onnx.ModelProto:
    if opset_of(model) >= opset:
        return model
    try:
        converted: onnx.ModelProto = onnx.version_converter.convert_version(model, opset)
        return converted
    except Exception as error:  # the converter's errors share no base class
        raise ModelError(
            f"is of opset {opset_of(model)} and cannot be brought to {opset} ({first_line(error)})", where=path,
            hint=f"export it with opset_version={opset} or more",
        ) from error  # fmt: skip


def _inferred(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The network with the shapes that follow from its input's, and no others."""
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        model = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # as above
        raise ModelError(
            f"its shapes do not fit together ({first_line(error)})", where=path, hint=_EXPORT_AGAIN
        ) from error
    if not all(_is_fixed(output) for output in model.graph.output):
        _fold_shapes(model, path)
    for output in model.graph.output:
        if not _is_fixed(output):
            raise ModelError(
                f"output {shown(output.name)} has the shape {told(dimensions(output))}, which is not fixed",
                where=path, hint=_EXPORT_AGAIN,
            )  # fmt: skip
    return model


def _is_fixed(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.HasField("shape") and None not in dimensions(value)


def _fold_shapes(model: onnx.ModelProto, path: Path) -> None:
    """Give outputs the shapes that ONNX Runtime finds, which computes what onnx's inference leaves open."""
    for output, found in zip(model.graph.output, session(model, path).get_outputs(), strict=True):
        if all(isinstance(size, int) for size in found.shape):
            kind = output.type.tensor_type.elem_type
            output.type.CopyFrom(helper.make_tensor_type_proto(kind, found.shape))


def session(model: onnx.ModelProto, path: Path | None = None, *, plain: bool = False) -> Any:
    """An ONNX Runtime session on the CPU. plain: as the network stands, without optimisations. Raises ModelError."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_DISABLE_ALL if plain else level.ORT_ENABLE_BASIC
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ModelError(f"ONNX Runtime refuses the network ({first_line(error)})", where=path) from error
