"""Random .tflite files of one matrix operator, with the corners of their parameters well represented."""

from __future__ import annotations

import numpy as np
from tflite_maker import Maker


def random_model(rng: np.random.Generator, kind: str) -> tuple[bytes, int]:
    """(content, bytes of its input) of a FULLY_CONNECTED, CONV_2D or DEPTHWISE_CONV_2D."""
    return {"FULLY_CONNECTED": _fully_connected, "CONV_2D": _convolution, "DEPTHWISE_CONV_2D": _depthwise}[
        kind
    ](rng)


def layer(
    kind: str, input_shape, weights: np.ndarray, output_shape, *, axis: int, rng: np.random.Generator, options: str,
    per_channel: bool = True, zero: int | None = None, gain: float = 40.0, **values,
) -> bytes:  # fmt: skip
    """One operator. gain: standard deviations of its sums to the output's 127; small ones saturate."""
    m = Maker()
    channels = weights.shape[axis]
    x_scale = np.float32(0.02)
    zero = int(rng.choice([-128, 127, 0, rng.integers(-128, 128)])) if zero is None else zero
    x = m.tensor(input_shape, x_scale, zero)
    scales = rng.uniform(0.002, 0.02, channels if per_channel else 1).astype(np.float32)
    w = m.tensor(weights.shape, scales, 0, data=weights, axis=axis)
    bias = rng.integers(-3000, 3000, channels).astype(np.int32)
    b = m.tensor((channels,), x_scale * scales, 0, dtype="INT32", data=bias)
    depth = weights.size // channels
    spread = 75 * 75 * np.sqrt(depth) * float(x_scale) * float(scales.mean())
    y = m.tensor(output_shape, spread * 2 / gain, int(rng.choice([-128, 0, rng.integers(-128, 128)])))
    m.operator(kind, [x, w, b], [y], options, 4, **values)
    return m.data([x], [y])


def _weights(rng: np.random.Generator, shape) -> np.ndarray:
    extreme = rng.random() < 0.2
    values = rng.choice([-127, 127], shape) if extreme else rng.integers(-127, 128, shape)
    return values.astype(np.int8)


def _gain(rng: np.random.Generator) -> float:
    """Mostly ordinary; sometimes so large that the multiplier is above 1/4 and even above 1."""
    return float(rng.choice([20.0, 60.0, 2000.0, 50000.0], p=[0.4, 0.3, 0.2, 0.1]))


def _fully_connected(rng: np.random.Generator) -> tuple[bytes, int]:
    batch, depth, units = (int(rng.integers(1, n)) for n in (4, 90, 14))
    content = layer(
        "FULLY_CONNECTED", (batch, depth), _weights(rng, (units, depth)), (batch, units), axis=0, rng=rng,
        options="FullyConnectedOptions", per_channel=bool(rng.random() < 0.5), gain=_gain(rng),
        fusedActivationFunction=int(rng.choice([0, 1, 3])),
    )  # fmt: skip
    return content, batch * depth


def _walk(rng: np.random.Generator, size: int, taps: int) -> tuple[int, int, int, int]:
    """(padding, stride, dilation, output positions) that fit."""
    while True:
        same, stride = bool(rng.random() < 0.6), int(rng.integers(1, 4))
        dilation = int(rng.integers(1, 3)) if stride == 1 else 1
        reach = (taps - 1) * dilation + 1
        if same:
            return 0, stride, dilation, -(-size // stride)
        if reach <= size:
            return 1, stride, dilation, (size - reach) // stride + 1


def _image(rng: np.random.Generator, k_h: int, k_w: int):
    h, w = (int(n) for n in rng.integers(3, 9, 2))
    while True:
        down, across = _walk(rng, h, k_h), _walk(rng, w, k_w)
        if down[0] == across[0]:
            break
    values = {"padding": down[0], "strideH": down[1], "strideW": across[1], "dilationHFactor": down[2],
              "dilationWFactor": across[2], "fusedActivationFunction": int(rng.choice([0, 1, 3]))}  # fmt: skip
    return h, w, down[3], across[3], values


def _convolution(rng: np.random.Generator) -> tuple[bytes, int]:
    k_h, k_w = (1, 1) if rng.random() < 0.3 else (int(n) for n in rng.integers(1, 4, 2))
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    depth, rows, batch = int(rng.integers(1, 24)), int(rng.integers(1, 10)), int(rng.integers(1, 3))
    h, w, out_h, out_w, values = _image(rng, k_h, k_w)
    content = layer(
        "CONV_2D", (batch, h, w, depth * groups), _weights(rng, (rows * groups, k_h, k_w, depth)),
        (batch, out_h, out_w, rows * groups), axis=0, rng=rng, options="Conv2DOptions", gain=_gain(rng), **values,
    )  # fmt: skip
    return content, batch * h * w * depth * groups


def _depthwise(rng: np.random.Generator) -> tuple[bytes, int]:
    k_h, k_w = (int(n) for n in rng.integers(1, 5, 2))
    channels = int(rng.choice([2, 3, 4, 5, 15, 16, 17, 33]))
    multiplier, batch = int(rng.choice([1, 1, 1, 2, 3])), int(rng.integers(1, 3))
    h, w, out_h, out_w, values = _image(rng, k_h, k_w)
    content = layer(
        "DEPTHWISE_CONV_2D", (batch, h, w, channels), _weights(rng, (1, k_h, k_w, channels * multiplier)),
        (batch, out_h, out_w, channels * multiplier), axis=3, rng=rng, options="DepthwiseConv2DOptions",
        gain=_gain(rng), depthMultiplier=multiplier, **values,
    )  # fmt: skip
    return content, batch * h * w * channels
