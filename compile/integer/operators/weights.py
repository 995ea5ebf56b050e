"""What the matrix operators share: constant weights and bias, and what a board needs of them for each channel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.graph import Node, Tensor
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.requantize import activation_range, quantize_multiplier

Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]
LARGEST_EXTENT = 1 << 24  # as the engine's edge_extent
LARGEST_TENSOR = (1 << 31) - 1  # bytes: offsets are int32 on a board


def constant_weights(
    builder: Builder, node: Node, index: int, rank: int, axis: int
) -> tuple[Tensor, Int8Array]:
    """Input `index` of the node: a symmetric INT8 constant of `rank` dimensions, one scale or one a slice of `axis`.

    Raises TargetError for any other.
    """
    if len(node.inputs) <= index or node.inputs[index] < 0:
        raise builder.refuse(node, "has no weights")
    tensor = builder.tensor(node.inputs[index])
    if tensor.data is None:
        raise builder.refuse(
            node, "the weights are computed, a board takes constant ones", "freeze the weights"
        )
    if tensor.dtype != np.int8:
        raise builder.refuse(
            node, f"the weights are {tensor.dtype}, not int8", "quantize the weights to INT8"
        )
    if len(tensor.shape) != rank:
        raise builder.refuse(node, f"the weights are of shape {tensor.shape}, not of {rank} dimensions")
    if len(tensor.scales) not in (1, tensor.shape[axis]):
        raise builder.refuse(
            node, f"the weights have {len(tensor.scales)} scales for {tensor.shape[axis]} channels"
        )
    if len(tensor.scales) > 1 and tensor.axis != axis:
        raise builder.refuse(node, f"the weights' scales lie along axis {tensor.axis}, not {axis}")
    if any(tensor.zero_points):
        raise builder.refuse(
            node, "the weights have a zero point that is not 0", "quantize the weights symmetrically"
        )
    return tensor, tensor.data.astype(np.int8, copy=False)


def constant_bias(builder: Builder, node: Node, index: int, channels: int) -> Int32Array:
    """Input `index` of the node: `channels` INT32 values, zeros where there is none.

    Raises TargetError for any other.
    """
    if len(node.inputs) <= index or node.inputs[index] < 0:
        return np.zeros(channels, np.int32)
    tensor = builder.tensor(node.inputs[index])
    if tensor.data is None or tensor.dtype != np.int32:
        raise builder.refuse(node, "the bias is no INT32 constant", "quantize the bias to INT32")
    if tensor.size != channels:
        raise builder.refuse(node, f"the bias has {tensor.size} values for {channels} channels")
    return tensor.data.astype(np.int32, copy=False).ravel()


def channel_constants(
    builder: Builder, node: Node, bias: Int32Array, ratios: npt.NDArray[np.float64]
) -> Int32Array:
    """(3, channels): bias, and of each effective scale the multiplier and the shift.

    Raises TargetError for a scale that is negative or not finite.
    """
    if not np.all(np.isfinite(ratios) & (ratios >= 0)):
        raise builder.refuse(
            node, "a scale of the weights is negative or not finite", "quantize the network again"
        )
    pairs = np.array([quantize_multiplier(float(r)) for r in ratios], np.int32)
    return np.stack([bias, pairs[:, 0], pairs[:, 1]])


def fold_zero_point(bias: Int32Array, weights: npt.NDArray[np.int64], zero_point: int) -> Int32Array:
    """bias - zero_point * (each channel's sum of weights), where weights is (channels, …).

    At 32 bits it wraps as the sum of products would, so the result is the same.
    """
    sums = weights.reshape(len(weights), -1).sum(1)
    return (bias.astype(np.int64) - zero_point * sums).astype(np.int32)


def activation(builder: Builder, node: Node, index: int) -> Tensor:
    """Tensor `index`, INT8 with one scale. Raises TargetError for another (a constant may be one)."""
    tensor = builder.tensor(index)
    if tensor.dtype != np.int8 or len(tensor.scales) != 1:
        raise builder.refuse(node, f"'{tensor.name}' is not INT8 with one scale", "use full INT8")
    return tensor


def effective_scales(
    source: Tensor, weights: Tensor, output: Tensor, channels: int
) -> npt.NDArray[np.float64]:
    """(channels,) scale of the input times that of the weights over that of the output, in float64 as LiteRT."""
    scales = np.array(weights.scales, np.float64)
    return np.broadcast_to(np.float64(source.scale) * scales / np.float64(output.scale), channels)


def fused_range(builder: Builder, node: Node, output: Tensor) -> tuple[int, int]:
    """Lowest and highest value after the fused activation. Raises TargetError for one that LiteRT has no INT8 for."""
    activation = node.options.get("fusedActivationFunction", 0)
    if activation not in (0, 1, 2, 3):
        raise builder.refuse(node, f"fused activation {activation} is not covered", "use RELU, RELU6 or none")
    return activation_range(activation, output.scale, output.zero_point)


def check_extents(builder: Builder, node: Node, **shapes: tuple[int, ...]) -> None:
    """Raises TargetError for a tensor larger than the engine's offsets reach."""
    for name, shape in shapes.items():
        if max(shape) > LARGEST_EXTENT or np.prod(np.array(shape, object)) > LARGEST_TENSOR:
            raise builder.refuse(
                node, f"the {name} of shape {shape} is too large for a board", "use a smaller network"
            )
