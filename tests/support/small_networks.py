"""Small full-INT8 networks as .tflite files."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from tflite_maker import Maker


def dense(sizes: tuple[int, ...], seed: int = 0) -> bytes:
    """Fully connected layers from sizes[0] inputs to sizes[-1] outputs; an autoencoder's shape when those agree."""
    rng = np.random.default_rng(seed)
    maker = Maker()
    scale, zero = np.float32(0.05), 3
    source = current = maker.tensor((1, sizes[0]), scale, zero)
    for depth, units in pairwise(sizes):
        w_scale = np.float32(rng.uniform(0.004, 0.01))
        weights = maker.tensor(
            (units, depth), w_scale, 0, data=rng.integers(-127, 128, (units, depth)).astype(np.int8)
        )
        bias = rng.integers(-500, 500, units).astype(np.int32)
        biases = maker.tensor((units,), scale * w_scale, 0, dtype="INT32", data=bias)
        scale, zero = np.float32(rng.uniform(0.03, 0.06)), int(rng.integers(-20, 20))
        output = maker.tensor((1, units), scale, zero)
        maker.operator("FULLY_CONNECTED", [current, weights, biases], [output], "FullyConnectedOptions", 4)
        current = output
    return maker.data([source], [current])
