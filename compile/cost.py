"""What a network costs: multiply-accumulates, parameters, bytes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

_FOLLOWS_IN_PLACE = ("Add", "Relu", "Multiply", "Convert", "FakeQuantize", "Power", "Reshape", "Subtract")


@dataclass(frozen=True)
class Cost:
    """macs: multiply-accumulates an inference. activation_bytes: largest sum of tensors alive at once."""

    macs: int
    parameters: int
    activation_bytes: int


def count(model: Any, *, int8: bool) -> Cost:
    """Cost of an openvino.Model with static shapes.

    Activations are counted where an engine has to store them: after the elementwise operators that it fuses
    into their producer; one byte an element where the tensor is quantized and `int8` is true, else four.
    """
    ops = model.get_ordered_ops()
    macs = parameters = 0
    for op in ops:
        kind = op.get_type_name()
        if kind in ("Convolution", "GroupConvolution"):
            kernel = op.input_value(1).get_shape()
            macs += prod(op.get_output_shape(0)) * prod(kernel[1:] if kind == "Convolution" else kernel[2:])
            parameters += prod(kernel)
        elif kind in ("ConvolutionBackpropData", "GroupConvolutionBackpropData"):
            kernel = op.input_value(1).get_shape()
            macs += prod(op.get_input_shape(0)) * prod(kernel[1:] if kind.startswith("Conv") else kernel[2:])
            parameters += prod(kernel)
        elif kind == "MatMul":
            macs += prod(op.get_output_shape(0)) * _inner(op)
            parameters += sum(
                prod(op.get_input_shape(i)) for i in (0, 1) if _is_constant(op.input_value(i).get_node())
            )
        elif kind == "Add" and _is_constant(op.input_value(1).get_node()):
            parameters += prod(op.input_value(1).get_shape())
    return Cost(macs, parameters, _peak_bytes(ops, int8))


def _inner(matmul: Any) -> int:
    """The length of the sums of a matrix product."""
    return int(matmul.get_input_shape(0)[-2 if matmul.get_attributes()["transpose_a"] else -1])


def _is_constant(node: Any) -> bool:
    while node.get_type_name() in ("Convert", "Reshape", "Multiply", "Subtract", "FakeQuantize"):
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")


def _peak_bytes(ops: list[Any], int8: bool) -> int:
    """Sweep the operators in order, freeing each stored tensor after its last reader."""
    storage: dict[str, str] = {}  # operator -> operator whose tensor it writes into
    size: dict[str, int] = {}
    last_read: dict[str, int] = {}
    order: list[str] = []
    for step, op in enumerate(ops):
        name, kind = op.get_friendly_name(), op.get_type_name()
        if kind in ("Constant", "Result") or _is_constant(op):
            continue
        inputs = [i.get_source_output().get_node() for i in op.inputs()]
        live = [storage[i.get_friendly_name()] for i in inputs if i.get_friendly_name() in storage]
        for owner in live:
            last_read[owner] = step
        single = len(live) == 1 and len(inputs[0].output(0).get_target_inputs()) == 1
        owner = live[0] if kind in _FOLLOWS_IN_PLACE and single else name
        storage[name] = owner
        width = 1 if (int8 and kind in ("FakeQuantize", "Parameter")) else 4
        elements = prod(op.get_output_shape(0))
        if owner == name:
            order.append(name)
            size[name] = elements * (1 if kind == "Concat" and int8 else width)
        elif kind == "FakeQuantize" and int8:
            size[owner] = elements
        last_read[owner] = max(last_read.get(owner, step), step)
    born = {name: step for step, name in ((s, o.get_friendly_name()) for s, o in enumerate(ops))}
    peak = 0
    for name in order:
        alive = [n for n in order if born[n] <= born[name] <= last_read[n]]
        peak = max(peak, sum(size[n] for n in alive))
    return peak
