"""A network of many operators with branches, as a .tflite file."""

from __future__ import annotations

import numpy as np
from tflite_maker import Maker


def mixed(seed: int) -> tuple[bytes, tuple[int, ...]]:
    """(content, input shape): convolutions, a residual sum, a concatenation, pools, resizes, tables, a classifier."""
    rng = np.random.default_rng(seed)
    m = Maker()
    side, depth = int(rng.integers(5, 9)), int(rng.integers(1, 5))
    wide = int(rng.integers(2, 6))

    def tensor(*shape: int, like: int | None = None) -> int:
        if like is not None:
            q = m.graph.tensors[like].quantization
            return m.tensor(shape, q.scale, q.zeroPoint)
        return m.tensor(shape, float(rng.uniform(0.02, 0.08)), int(rng.integers(-60, 60)))

    def scale(index: int) -> np.float32:
        return np.float32(m.graph.tensors[index].quantization.scale[0])

    def weights(shape: tuple[int, ...], axis: int, source: int) -> list[int]:
        scales = rng.uniform(0.004, 0.02, shape[axis]).astype(np.float32)
        data = rng.integers(-127, 128, shape).astype(np.int8)
        bias = rng.integers(-800, 800, shape[axis]).astype(np.int32)
        return [
            m.tensor(shape, scales, 0, data=data, axis=axis),
            m.tensor((shape[axis],), scale(source) * scales, 0, dtype="INT32", data=bias),
        ]

    x = tensor(1, side, side, depth)
    a = tensor(1, side, side, wide)
    m.operator("CONV_2D", [x, *weights((wide, 3, 3, depth), 0, x)], [a], "Conv2DOptions", 3, padding=0, strideH=1,
               strideW=1, dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=1)  # fmt: skip
    b = tensor(1, side, side, wide)
    m.operator("DEPTHWISE_CONV_2D", [a, *weights((1, 3, 3, wide), 3, a)], [b], "DepthwiseConv2DOptions", 3, padding=0,
               strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1, depthMultiplier=1)  # fmt: skip
    c = tensor(1, side, side, wide)
    m.operator("ADD", [a, b], [c], "AddOptions", 2)
    d = m.tensor((1, side, side, wide), 1 / 256, -128)
    m.operator("LOGISTIC", [c], [d])
    e = tensor(1, side, side, wide)
    m.operator("MUL", [c, d], [e], "MulOptions", 2)
    half = (side + 1) // 2
    f = tensor(1, half, half, wide, like=e)
    kind = str(rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"]))
    m.operator(
        kind, [e], [f], "Pool2DOptions", 2, padding=0, strideH=2, strideW=2, filterHeight=2, filterWidth=2
    )
    size = m.tensor((2,), dtype="INT32", data=np.array([side, side], np.int32))
    g = tensor(1, side, side, wide, like=e)
    kind = str(rng.choice(["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"]))
    options = "ResizeBilinearOptions" if kind == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    m.operator(kind, [f, size], [g], options, 3, halfPixelCenters=True)
    h = tensor(1, side, side, 2 * wide, like=e)
    m.operator("CONCATENATION", [g, e], [h], "ConcatenationOptions", 2, axis=3)
    i = tensor(1, 2 * wide)
    axes = m.tensor((2,), dtype="INT32", data=np.array([1, 2], np.int32))
    m.operator("MEAN", [h, axes], [i], "ReducerOptions", 2)
    j = tensor(1, 5)
    m.operator("FULLY_CONNECTED", [i, *weights((5, 2 * wide), 0, i)], [j], "FullyConnectedOptions", 5)
    k = m.tensor((1, 5), 1 / 256, -128)
    m.operator("SOFTMAX", [j], [k], "SoftmaxOptions", 2, beta=1.0)
    return m.data([x], [k, g]), (1, side, side, depth)
