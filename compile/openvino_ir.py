"""Making OpenVINO networks: from ONNX, quantized by nncf, and written so that the same input gives the same bytes."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.bundle.names import shown
from edge_ad.compile.openvino_layers import MOVES, WEIGHTED, name_layers
from edge_ad.errors import TargetError
from edge_ad.runtime.engines.base import Tensor

# What follows the last convolution must stay exact: squares, channel means and what is made of them.
EXACT_TYPES = ("Power", "ReduceMean")


def import_onnx(onnx: bytes) -> Any:
    """ONNX to an openvino.Model, constants folded. Raises TargetError for what OpenVINO does not know."""
    import openvino
    from openvino.passes import ConstantFolding, Manager

    try:
        model = openvino.Core().read_model(onnx)
    except RuntimeError as error:
        raise TargetError(
            f"OpenVINO does not take the network ({_cause(error)})", where="openvino-cpu"
        ) from error
    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(model)
    name_layers(model, onnx)
    return model


def _cause(error: RuntimeError) -> str:
    """What OpenVINO's report says of operators, where it does."""
    lines = [line.strip().removeprefix("-- ") for line in str(error).splitlines() if line.strip()]
    return shown(next((line for line in lines if line.startswith("No conversion rule")), lines[-1]))


def joined(front: Any | None, core: Any, tail: Any | None) -> Any:
    """One openvino.Model of two or three, whose inputs and outputs are joined where they have the same name.

    What is left over stays an input or an output: the front's inputs and the last one's outputs, in order.
    """
    import openvino

    models = [model for model in (front, core, tail) if model is not None]
    names = [output.get_any_name() for output in models[-1].outputs]
    made: dict[str, Any] = {}
    for model in models:
        if model is not models[0]:
            for parameter in model.get_parameters():
                parameter.output(0).replace(made[parameter.output(0).get_any_name()])
        for result in model.get_results():
            made |= dict.fromkeys(result.input_value(0).get_names(), result.input_value(0))
    whole = openvino.Model(models[-1].get_results(), models[0].get_parameters(), "network")
    for output in made.values():  # inner tensors need no names, and would lend them to outputs
        output.get_tensor().set_names(set())
    for output, name in zip(whole.outputs, names, strict=True):
        output.get_tensor().set_names({name})
    return whole


def through(model: Any, batches: Iterable[Tensor]) -> Iterator[dict[str, Tensor]]:
    """The outputs of an openvino.Model for each batch, by name, in float32."""
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    # The compiled model's outputs may have another one's name besides, which an operator left out, x * 1, had.
    names = [output.get_any_name() for output in model.outputs]
    for batch in batches:
        results = compiled([batch])
        yield {name: np.array(results[i]) for i, name in enumerate(names)}


def quantize(
    model: Any,
    calibration: Iterable[Tensor | dict[str, Tensor]],
    count: int,
    exact_types: Sequence[str] = (),
    pixels: Sequence[str] = (),
) -> Any:
    """INT8 by nncf's post-training quantization; `model` itself is left as it was.

    calibration: `count` inputs of the model, one tensor or several by name. exact_types: further operators whose
    inputs stay as they are. pixels: float inputs that hold pixels all the same; those of type uint8 always do.

    Weights are symmetric per output channel; activations per tensor, from the smallest to the largest value of
    all `count` batches (streamed: one batch is in memory at a time), since the score is a maximum and clipping
    would show in it. Overflow fix: weights keep to 7 bits, so that CPUs without VNNI, whose 16-bit accumulators
    would saturate, compute the same. Bias correction is off: it fits few images, and here it moved scores twice
    as far as it mended (spread of the shift 0.26 against 0.13 standard deviations, `tiny` on generated parts).
    """
    os.environ.setdefault("NNCF_CI", "1")  # nncf's switch for sending no usage statistics
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    logging.getLogger("nncf").setLevel(logging.WARNING)
    present = {op.get_type_name() for op in model.get_ops()}
    with contextlib.redirect_stdout(io.StringIO()):  # nncf draws progress bars of its own
        quantized = nncf.quantize(
            model,
            nncf.Dataset(calibration),
            subset_size=count,
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(types=[t for t in (*EXACT_TYPES, *exact_types) if t in present]),
            advanced_parameters=AdvancedQuantizationParameters(
                overflow_fix=OverflowFix.ENABLE,
                disable_bias_correction=True,
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            ),
        )
    _exact_input_range(quantized, pixels)
    return quantized


def float_operators(model: Any) -> list[str]:
    """Convolutions and matrix products whose inputs are not quantized."""
    names = []
    for op in model.get_ordered_ops():
        if op.get_type_name() in WEIGHTED:
            source = op.input_value(0).get_node()
            while source.get_type_name() in MOVES:
                source = source.input_value(0).get_node()
            if source.get_type_name() != "FakeQuantize":
                names.append(op.get_friendly_name())
    return names


def serialise(model: Any) -> tuple[bytes, bytes]:
    """IR as (xml, bin) bytes; generated names and run-time notes are replaced, so equal networks give equal bytes."""
    import openvino

    for index, op in enumerate(model.get_ordered_ops()):
        if op.get_type_name() not in ("Parameter", "Result"):
            op.set_friendly_name(f"{op.get_type_name()}_{index}")
            for output in op.outputs():
                if not any(
                    target.get_node().get_type_name() == "Result" for target in output.get_target_inputs()
                ):
                    output.get_tensor().set_names(set())
        info = op.get_rt_info()
        for key in list(info):
            del info[key]
    for key in list(model.get_rt_info()):
        del model.rt_info[key]
    model.set_friendly_name("network")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def _exact_input_range(model: Any, pixels: Sequence[str]) -> None:
    """Quantize raw pixels to exactly 0..255 in steps of one, whatever the calibration images' range was."""
    import openvino
    from openvino import opset13

    for op in model.get_ordered_ops():
        if op.get_type_name() != "FakeQuantize":
            continue
        source = op.input_value(0).get_node()
        while source.get_type_name() == "Convert":
            source = source.input_value(0).get_node()
        if source.get_type_name() != "Parameter":
            continue
        named = not source.output(0).get_names().isdisjoint(pixels)
        if named or source.get_element_type() == openvino.Type.u8:
            for index, value in enumerate((0.0, 255.0, 0.0, 255.0), start=1):
                shape = op.input_value(index).get_shape()
                constant = opset13.constant(np.full(shape, value, np.float32))
                op.input(index).replace_source_output(constant.output(0))
