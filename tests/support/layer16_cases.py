"""Random layers in 16 bits: (how to make the image for a kernel set, input, expected output)."""

from __future__ import annotations

import numpy as np
from operator_images import operator_image

from edge_ad.compile.integer.operators.rows16 import pack16, scratch16_bytes
from edge_ad.compile.integer.records.layers16 import Convolution16, Doubling16
from edge_ad.runtime.integer.layers16 import Scaling, convolution16, doubling16

LEAST, MOST = -(1 << 15), (1 << 15) - 1


def values(rng: np.random.Generator, shape) -> np.ndarray:
    if rng.random() < 0.2:
        return rng.choice([LEAST, MOST], shape)
    return rng.integers(LEAST, MOST + 1, shape) >> int(rng.integers(0, 12))


def biases(rng: np.random.Generator, rows: int) -> np.ndarray:
    extreme = rng.choice([-(1 << 31), (1 << 31) - 1], rows)
    return np.where(rng.random(rows) < 0.1, extreme, rng.integers(-(1 << 20), 1 << 20, rows))


def random_scaling(rng: np.random.Generator, rows: int) -> Scaling:
    """Mostly an ordinary one, also one that leaves the usual path of a kernel."""
    unusual = rng.random() < 0.3
    shift = int(rng.choice([-31, -3, -2, -1, 0, 3, 30]) if unusual else rng.integers(-20, -9))
    multiplier = np.where(rng.random(rows) < 0.2, 0, rng.integers(1 << 26, 1 << 31, rows))
    low, high = np.sort(rng.choice([LEAST, -7, 0, 255, (1 << 14) - 1, MOST], 2, replace=False)).tolist()
    return Scaling(np.stack([biases(rng, rows), multiplier]), shift, low, high)


def convolution_case(rng: np.random.Generator):
    """(image, input, expected)."""
    in_h, in_w, in_c, rows = (int(rng.integers(1, n)) for n in (7, 7, 9, 11))
    k_h, k_w, stride, *pads = (int(rng.integers(1, n)) for n in (5, 5, 4, 4, 4))
    top, left = (n - 1 for n in pads)
    out_h, out_w = (int(rng.integers(1, 5)) for _ in range(2))
    x, weights = values(rng, (in_h, in_w, in_c)), values(rng, (rows, k_h, k_w, in_c))
    scaling = random_scaling(rng, rows)
    expected = convolution16(x, weights, scaling, stride=stride, pad=(top, left), out=(out_h, out_w))

    def make(builder, source, results):
        scratch = builder.buffer(scratch16_bytes(builder.kernels, k_h * k_w * in_c))
        record = Convolution16(
            input=source, output=results[0], scratch=scratch,
            weights=builder.constant(pack16(builder.kernels, weights.reshape(rows, -1).astype(np.int16))),
            channels=builder.constant(scaling.channels.astype(np.int32)), in_h=in_h, in_w=in_w, in_c=in_c, rows=rows,
            shift=scaling.shift, low=scaling.low, high=scaling.high, out_h=out_h, out_w=out_w, k_h=k_h, k_w=k_w,
            stride=stride, pad_top=top, pad_left=left,
        )  # fmt: skip
        return record, [scratch]

    return lambda kernels: operator_image(2 * x.size, [2 * expected.size], make, kernels), x, expected


def doubling_case(rng: np.random.Generator):
    in_h, in_w, in_c, outputs = (int(rng.integers(1, n)) for n in (6, 6, 9, 6))
    rows = 4 * outputs
    x, weights = values(rng, (in_h, in_w, in_c)), values(rng, (rows, 2, 2, in_c))
    scaling = random_scaling(rng, rows)
    expected = doubling16(x, weights, scaling)

    def make(builder, source, results):
        scratch = builder.buffer(scratch16_bytes(builder.kernels, 4 * in_c, rows))
        record = Doubling16(
            input=source, output=results[0], scratch=scratch,
            weights=builder.constant(pack16(builder.kernels, weights.reshape(rows, -1).astype(np.int16))),
            channels=builder.constant(scaling.channels.astype(np.int32)), in_h=in_h, in_w=in_w, in_c=in_c, rows=rows,
            shift=scaling.shift, low=scaling.low, high=scaling.high,
        )  # fmt: skip
        return record, [scratch]

    return lambda kernels: operator_image(2 * x.size, [2 * expected.size], make, kernels), x, expected
