"""Captured networks as ONNX files: float32, float16, or quantized by one of `qdq`'s ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import onnx

from edge_ad.compile.capture import Captured, CapturedPart
from edge_ad.compile.cost import Cost
from edge_ad.compile.layers import MAIN, chosen, layers_of, local_names, told
from edge_ad.compile.onnx_cost import count
from edge_ad.compile.onnx_graphs import folded, half, joined, serialise, through
from edge_ad.compile.qdq import Feeds, float_again, float_operators
from edge_ad.compile.target import Calibration, Lowered, Precision
from edge_ad.runtime.engines.base import Tensor

MODEL = "network.onnx"
Quantize = Callable[[onnx.ModelProto, Feeds, int], onnx.ModelProto]  # model, inputs by name, how many
Check = Callable[[onnx.ModelProto, str], None]  # raises TargetError for what the device would not take


def lower_onnx(
    captured: Captured, precision: Precision, calibration: Calibration | None, keep: tuple[str, ...] = (), *,
    quantize: Quantize, check: Check, notes: list[str], where: str, higher: str,
) -> Lowered:  # fmt: skip
    """The network, its core quantized or halved, and each further network of the score head, as ONNX files.

    notes: how that is done, for the report. where: the target, for errors. higher: the precision of what is kept, for
    the report. Raises what `check` raises.
    """
    floats = _stages(captured)
    kept = chosen(layers_of(captured), keep if precision == "int8" else (), where)
    network, decisions = _network(captured, floats, precision, calibration, quantize, local_names(kept, MAIN))
    models = {"network": network}
    costs = [count(joined(*floats))]
    for name, part in captured.parts.items():
        plain = folded(part.onnx)
        costs.append(count(plain))
        made = _part(captured, name, part, plain, precision, calibration, quantize)
        models[name] = float_again(made, plain, local_names(kept, name)) if precision == "int8" else made
        decisions.append(f"The score head calls a further network, '{name}', compiled in the same way.")
    decisions += told(kept, higher)
    for name, model in models.items():
        check(model, name)
    width = {"int8": 4, "fp16": 2, "fp32": 1}[precision]
    return Lowered(
        precision,
        {f"{name}.onnx": serialise(model) for name, model in models.items()},
        MODEL,
        Cost(
            macs=sum(cost.macs for cost in costs),
            parameters=sum(cost.parameters for cost in costs),
            activation_bytes=max(cost.activation_bytes for cost in costs) // width,
        ),
        [*notes, *decisions] if precision != "fp32" else decisions,
        {name: f"{name}.onnx" for name in captured.parts},
        {"precision": precision},
        kept=tuple(layer.name for layer in kept),
    )


def _stages(captured: Captured) -> tuple[onnx.ModelProto | None, onnx.ModelProto, onnx.ModelProto | None]:
    front = None if captured.front is None else folded(captured.front)
    tail = None if captured.tail is None else folded(captured.tail)
    return front, folded(captured.onnx), tail


def _network(
    captured: Captured, stages: tuple[onnx.ModelProto | None, onnx.ModelProto, onnx.ModelProto | None],
    precision: Precision, calibration: Calibration | None, quantize: Quantize, kept: frozenset[str],
) -> tuple[onnx.ModelProto, list[str]]:  # fmt: skip
    front, core, tail = stages
    if precision != "int8" or calibration is None:
        return joined(front, _form(core, precision), tail), []
    count = calibration.count

    def quantized() -> onnx.ModelProto:
        return quantize(core, _feeds(core, front, calibration), count)

    made = float_again(captured.once((quantize, MAIN, count), quantized), core, kept)
    floats = float_operators(made)
    decisions = [
        f"INT8 ranges from {count} normal {captured.input.noun}s.",
        f"Convolutions and matrix products kept in float: {', '.join(floats) if floats else 'none'}.",
    ]
    return joined(front, made, tail), decisions


def _part(
    captured: Captured, name: str, part: CapturedPart, plain: onnx.ModelProto, precision: Precision,
    calibration: Calibration | None, quantize: Quantize,
) -> onnx.ModelProto:  # fmt: skip
    """A further network, quantized on what the main one hands it when all of that is INT8."""
    if precision != "int8" or calibration is None:
        return _form(plain, precision)

    def quantized() -> onnx.ModelProto:
        whole, _ = _network(captured, _stages(captured), precision, calibration, quantize, frozenset())
        given = plain.graph.input[0].name
        feeds = [
            {given: batch}
            for outputs in through(whole, calibration.batches())
            for batch in part.inputs(outputs)
        ]
        return quantize(plain, feeds, len(feeds))

    return captured.once((quantize, name, calibration.count), quantized)


def _form(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """Of a network that is not quantized."""
    return half(model) if precision == "fp16" else model


def _feeds(
    core: onnx.ModelProto, front: onnx.ModelProto | None, calibration: Calibration
) -> Iterator[Mapping[str, Tensor]]:
    """What the core takes of each calibration input."""
    names = [value.name for value in core.graph.input]
    if front is None:
        return ({names[0]: batch} for batch in calibration.batches())
    return ({name: made[name] for name in names} for made in through(front, calibration.batches()))
