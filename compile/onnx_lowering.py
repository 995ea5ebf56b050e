"""Captured networks as ONNX files: float32, float16, or quantized by one of `qdq`'s ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import onnx

from edge_ad.compile.capture import Captured
from edge_ad.compile.cost import Cost
from edge_ad.compile.onnx_cost import count
from edge_ad.compile.onnx_graphs import folded, half, joined, serialise, through
from edge_ad.compile.qdq import Feeds, float_operators
from edge_ad.compile.target import Calibration, Lowered, Precision
from edge_ad.runtime.engines.base import Tensor

MODEL = "network.onnx"
Quantize = Callable[[onnx.ModelProto, Feeds, int], onnx.ModelProto]  # model, inputs by name, how many
Check = Callable[[onnx.ModelProto, str], None]  # raises TargetError for what the device would not take


def lower_onnx(
    captured: Captured, precision: Precision, calibration: Calibration | None, *, quantize: Quantize, check: Check,
    notes: list[str],
) -> Lowered:  # fmt: skip
    """The network, its core quantized or halved, and each further network of the score head, as ONNX files.

    notes: how that is done, for the report. Raises what `check` raises.
    """
    floats = _stages(captured)
    network, decisions = _network(captured, floats, precision, calibration, quantize)
    whole = joined(*floats)
    models = {"network": network}
    costs = [count(whole)]
    for name, part in captured.parts.items():
        plain = folded(part.onnx)
        costs.append(count(plain))
        feeds = [
            {plain.graph.input[0].name: batch}
            for outputs in (through(network, calibration.batches()) if calibration is not None else ())
            for batch in part.inputs(outputs)
        ]
        models[name] = _form(plain, precision, feeds, len(feeds), quantize)
        decisions.append(f"The score head calls a further network, '{name}', compiled in the same way.")
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
    )


def _stages(captured: Captured) -> tuple[onnx.ModelProto | None, onnx.ModelProto, onnx.ModelProto | None]:
    front = None if captured.front is None else folded(captured.front)
    tail = None if captured.tail is None else folded(captured.tail)
    return front, folded(captured.onnx), tail


def _network(
    captured: Captured, stages: tuple[onnx.ModelProto | None, onnx.ModelProto, onnx.ModelProto | None],
    precision: Precision, calibration: Calibration | None, quantize: Quantize,
) -> tuple[onnx.ModelProto, list[str]]:  # fmt: skip
    front, core, tail = stages
    feeds: Feeds = () if calibration is None else _feeds(core, front, calibration)
    made = _form(core, precision, feeds, 0 if calibration is None else calibration.count, quantize)
    decisions = []
    if precision == "int8" and calibration is not None:
        kept = float_operators(made)
        decisions = [
            f"INT8 ranges from {calibration.count} normal {captured.input.noun}s.",
            f"Convolutions and matrix products kept in float: {', '.join(kept) if kept else 'none'}.",
        ]
    return joined(front, made, tail), decisions


def _form(
    model: onnx.ModelProto, precision: Precision, feeds: Feeds, n: int, quantize: Quantize
) -> onnx.ModelProto:
    if precision == "int8":
        return quantize(model, feeds, n)
    return half(model) if precision == "fp16" else model


def _feeds(
    core: onnx.ModelProto, front: onnx.ModelProto | None, calibration: Calibration
) -> Iterator[Mapping[str, Tensor]]:
    """What the core takes of each calibration input."""
    names = [value.name for value in core.graph.input]
    if front is None:
        return ({names[0]: batch} for batch in calibration.batches())
    return ({name: made[name] for name in names} for made in through(front, calibration.batches()))
