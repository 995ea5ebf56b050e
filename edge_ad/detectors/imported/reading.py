"""Reading an ONNX file that anybody may have made: one float32 input, static shapes, standard operators, or one
clear line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, shape_inference

from edge_ad.bundle.names import shown
from edge_ad.errors import ModelError

OLDEST_OPSET = 13  # below it weights cannot be quantized per channel
_EXPORT_AGAIN = "export it with fixed shapes, or give --shape"


def read_network(path: Path, shape: Sequence[int] | None = None) -> onnx.ModelProto:
    """The network in `path`, its weights inside, shapes inferred, brought to OLDEST_OPSET where it is older.

    shape: of the input, where the file leaves it open; a batch dimension that is open becomes 1. Raises ModelError.
    """
    model = _loaded(path)
    graph = model.graph
    fixed = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in fixed]
    if len(inputs) != 1:
        told = ", ".join(shown(value.name) for value in inputs) or "none"
        raise ModelError(f"has {len(inputs)} inputs ({told}), one is needed", where=path)
    if inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(inputs[0].type.tensor_type.elem_type).lower()
        raise ModelError(
            f"takes {kind}, float32 is needed", where=path, hint="leave out its own preprocessing"
        )
    foreign = sorted({node.domain for node in graph.node if node.domain not in ("", "ai.onnx")})
    if foreign:
        raise ModelError(
            f"holds operators of {shown(foreign[0])}, which no target here has", where=path,
            hint="export it with standard ONNX operators, and not quantized",
        )  # fmt: skip
    if any(node.op_type in ("QuantizeLinear", "QLinearConv", "ConvInteger") for node in graph.node):
        raise ModelError("is quantized already", where=path, hint="export it in float32")
    _fix_shape(inputs[0], shape, path)
    model = _at_least(model, OLDEST_OPSET, path)
    model = _inferred(model, path)
    for output in model.graph.output:
        if None in dimensions(output):
            raise ModelError(
                f"output {shown(output.name)} has the shape {_told(dimensions(output))}, which is not fixed",
                where=path, hint=_EXPORT_AGAIN,
            )  # fmt: skip
    return model


def dimensions(value: onnx.ValueInfoProto) -> list[int | None]:
    """The shape of an input or output; None for what is left open."""
    dims = value.type.tensor_type.shape.dim
    return [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims]


def at_most(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The network in an opset that is not newer. Raises ModelError where that cannot be."""
    if opset_of(model) <= opset:
        return model
    try:
        made: onnx.ModelProto = onnx.version_converter.convert_version(model, opset)
        onnx.checker.check_model(made)
        return made
    except Exception as error:  # the converter's errors share no base class
        raise ModelError(
            f"is of opset {opset_of(model)} and cannot be brought to {opset}, the newest that a target takes",
            hint=f"export it with opset_version={opset}",
        ) from error  # fmt: skip


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators."""
    return int(next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")))


def _loaded(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
        opset_of(model)
    except FileNotFoundError as error:
        what = "there is no such file" if not path.exists() else f"its weights are missing ({shown(error)})"
        raise ModelError(what, where=path, hint="external data must lie beside the .onnx file") from error
    except Exception as error:  # protobuf's, onnx's and the operating system's errors share no base class
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"is no ONNX network ({shown(cause)})", where=path) from error
    if not model.graph.node:
        raise ModelError("is an empty ONNX network", where=path)
    return model


def _fix_shape(value: onnx.ValueInfoProto, shape: Sequence[int] | None, path: Path) -> None:
    """Give the input its static shape."""
    found = dimensions(value)
    if shape is None:
        if not found:
            raise ModelError("does not say the shape of its input", where=path, hint="--shape 1,3,256,256")
        shape = [1 if found[0] is None else found[0], *(0 if d is None else d for d in found[1:])]
        if 0 in shape:
            place = list(shape).index(0)
            raise ModelError(
                f"dimension {place} of its input {_told(found)} is not fixed", where=path,
                hint="export it with fixed shapes, or give all of them: --shape 1,3,256,256",
            )  # fmt: skip
    elif found and (
        len(found) != len(shape) or any(f not in (None, s) for f, s in zip(found, shape, strict=True))
    ):
        raise ModelError(f"takes {_told(found)}, not {tuple(shape)}", where=path)
    if shape[0] != 1:
        raise ModelError(
            f"takes batches of {shape[0]}, one at a time is needed", where=path, hint="export it again"
        )
    value.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, list(shape)))


def _at_least(model: onnx.ModelProto, opset: int, path: Path) -> onnx.ModelProto:
    if opset_of(model) >= opset:
        return model
    try:
        converted: onnx.ModelProto = onnx.version_converter.convert_version(model, opset)
        return converted
    except Exception as error:
        raise ModelError(
            f"is of opset {opset_of(model)} and cannot be brought to {opset}", where=path,
            hint=f"export it with opset_version={opset} or more",
        ) from error  # fmt: skip


def _inferred(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The network with the shapes that follow from its input's, and no others."""
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        return shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:
        cause = str(error).strip().splitlines()[0]
        raise ModelError(
            f"its shapes do not fit together ({shown(cause)})", where=path, hint=_EXPORT_AGAIN
        ) from error


def check_runs(model: onnx.ModelProto, path: Path) -> None:
    """Raise ModelError unless the network gives the same finite values twice for an input of zeros and of noise."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:
        cause = str(error).strip().splitlines()[0]
        raise ModelError(f"ONNX Runtime refuses it ({shown(cause)})", where=path) from error
    feed = session.get_inputs()[0]
    noise = np.random.default_rng(0).uniform(-1, 1, feed.shape).astype(np.float32)
    for values in (np.zeros(feed.shape, np.float32), noise):
        runs: list[list[Any]] = [session.run(None, {feed.name: values}) for _ in range(2)]
        for output, one, other in zip(session.get_outputs(), *runs, strict=True):
            if not np.isfinite(one).all():
                raise ModelError(f"output {shown(output.name)} is not finite", where=path)
            if not np.array_equal(one, other):
                raise ModelError(
                    f"output {shown(output.name)} differs from run to run", where=path,
                    hint="export it in evaluation mode, without random operators",
                )  # fmt: skip


def _told(found: Sequence[int | None]) -> str:
    return f"({', '.join('?' if d is None else str(d) for d in found)})"
