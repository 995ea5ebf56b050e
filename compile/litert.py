"""Making .tflite files: from torch by litert-torch, quantized by ai-edge-quantizer."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edge_ad.compile.litert_layers import InFloat
from edge_ad.errors import MissingDependencyError, TargetError
from edge_ad.runtime.engines.base import Tensor

SIGNATURE = "serving_default"
_NOTHING = InFloat()
# The quantizer puts a transposed convolution's scales along an axis that LiteRT's kernels do not take, and with one
# scale for all it cannot quantize the bias: the operator stays in float32, and is named.
_TRANSPOSED_IN_FLOAT: dict[str, Any] = {
    "regex": ".*", "operation": "CONV_2D_TRANSPOSE", "algorithm_key": "no_quantize", "op_config": {},
}  # fmt: skip


def convert(network: nn.Module, examples: Sequence[torch.Tensor], *, what: str) -> bytes:
    """A float32 .tflite file of a module with these inputs. Raises TargetError for what LiteRT has no operator for,
    MissingDependencyError without the extra."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        try:
            import litert_torch
        except ImportError as error:
            raise _missing() from error
        path = Path(folder) / "network.tflite"
        try:
            litert_torch.convert(network.eval(), tuple(examples)).export(str(path))
        except Exception as error:  # torch's, the converter's and MLIR's errors share no base class
            cause = next((line for line in str(error).splitlines() if line.strip()), repr(error))
            raise TargetError(f"LiteRT cannot take {what} ({cause[:200]})", where="litert") from error
        return path.read_bytes()


def calibrated(content: bytes, feeds: Iterable[Sequence[Tensor]], *, pixels: bool) -> dict[str, Any]:
    """The range of each tensor of a float file, as `quantize` takes them.

    feeds: calibration inputs, each a float tensor per input in order. pixels: the inputs are pixels, 0 to 255 in steps
    of one whatever the calibration showed.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source = Path(folder) / "float.tflite"
        source.write_bytes(content)
        quantizing = _quantizer(source, _NOTHING)
        ranges: dict[str, Any] = {}
        for feed in feeds:
            named = {f"args_{i}": value for i, value in enumerate(feed)}
            _widen(ranges, quantizing.calibrate({SIGNATURE: [named]}))
        if pixels:
            _pixel_ranges(ranges, source)
        return ranges


def quantize(content: bytes, ranges: dict[str, Any], keep: InFloat = _NOTHING) -> bytes:
    """A float file in INT8, inputs and outputs too: weights symmetric per channel, activations per tensor.

    ranges: as `calibrated` gives them. keep: what stays in float32.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, made = Path(folder) / "float.tflite", Path(folder) / "int8.tflite"
        source.write_bytes(content)
        _quantizer(source, keep).quantize(ranges).export_model(str(made))
        return made.read_bytes()


def _quantizer(source: Path, keep: InFloat) -> Any:
    """Raises MissingDependencyError without the extra."""
    try:
        from ai_edge_quantizer import quantizer, recipe
    except ImportError as error:
        raise _missing() from error
    quantizing = quantizer.Quantizer(str(source))
    scopes = [(f"^{re.escape(name)};?$", "*") for name in keep.tensors]
    scopes += [(".*", name) for name, floats in (("INPUT", keep.inputs), ("OUTPUT", keep.outputs)) if floats]
    kept = [
        {"regex": regex, "operation": operation, "algorithm_key": "no_quantize", "op_config": {}}
        for regex, operation in scopes
    ]
    quantizing.load_quantization_recipe([*recipe.static_wi8_ai8(), _TRANSPOSED_IN_FLOAT, *kept])
    return quantizing


def float_operators(content: bytes) -> list[str]:
    """Operators of a quantized file that compute in float32, by type and count."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    types = {detail["index"]: detail["dtype"].__name__ for detail in interpreter.get_tensor_details()}
    found: dict[str, int] = {}
    for op in interpreter._get_ops_details():
        if op["op_name"] not in ("QUANTIZE", "DEQUANTIZE") and types.get(op["outputs"][0]) == "float32":
            found[op["op_name"]] = found.get(op["op_name"], 0) + 1
    return [f"{count} {name}" for name, count in sorted(found.items())]


def _widen(ranges: dict[str, Any], found: Mapping[str, Any]) -> None:
    """Take the ranges of one more input. Left to itself the quantizer averages them over inputs, and what is cut
    off then is the largest differences, which are what an anomaly score is made of."""
    for tensor, one in found.items():
        known = ranges.setdefault(tensor, dict(one))
        for key, pick in (("min", np.minimum), ("max", np.maximum)):
            if key in one:
                known[key] = pick(known[key], one[key])


def _pixel_ranges(ranges: Mapping[str, Any], source: Path) -> None:
    """Set the network inputs' calibrated ranges to those of pixels."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(source))
    for detail in interpreter.get_input_details():
        found = ranges[detail["name"]]
        for key, value in (("min", 0.0), ("max", 255.0)):
            found[key] = found[key] * 0 + value  # of the shape that it has


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Converter and quantizer print progress, advice and warnings of their own, from C++ too."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            Path(os.devnull).open("w") as nowhere,
        ):
            warnings.simplefilter("ignore")
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        logger.setLevel(level)


def _missing() -> MissingDependencyError:
    return MissingDependencyError(
        "compiling for LiteRT needs litert-torch and ai-edge-quantizer",
        hint="pip install 'edge-ad[litert-compile]'",
    )
