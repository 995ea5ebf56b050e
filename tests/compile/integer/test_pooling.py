"""Pooling and resizing equal LiteRT's reference kernels to the bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_maker import Maker, reference

from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.firmware_bridge.host_library import HostModel

SEEDS = st.integers(0, 2**32 - 1)
MANY = settings(max_examples=150, deadline=None)


def check(m: Maker, x: int, y: int, rng: np.random.Generator) -> None:
    content = m.data([x], [y])
    values = rng.integers(-128, 128, m.graph.tensors[x].shape).astype(np.int8)
    ours = HostModel(build_image(parse_tflite(content), "plain").content).infer([values])[0]
    np.testing.assert_array_equal(ours, reference(content, [values])[0].ravel())


@MANY
@given(SEEDS)
def test_pools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind, same = rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"]), bool(rng.random() < 0.5)
    kernel, stride = rng.integers(1, 5, 2), rng.integers(1, 4, 2)
    size = rng.integers(4, 10, 2)
    out = -(-size // stride) if same else (size - kernel) // stride + 1
    batch, channels = int(rng.integers(1, 3)), int(rng.integers(1, 5))
    scale, zero = float(rng.uniform(0.01, 0.2)), int(rng.integers(-128, 128))
    m = Maker()
    x, y = m.tensor((batch, *size, channels), scale, zero), m.tensor((batch, *out, channels), scale, zero)
    m.operator(str(kind), [x], [y], "Pool2DOptions", 2, padding=0 if same else 1, strideH=int(stride[0]),
               strideW=int(stride[1]), filterHeight=int(kernel[0]), filterWidth=int(kernel[1]),
               fusedActivationFunction=int(rng.choice([0, 1, 3])))  # fmt: skip
    check(m, x, y, rng)


@MANY
@given(SEEDS)
def test_resizes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"]))
    options = "ResizeBilinearOptions" if kind == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    corners, halves = [(False, False), (True, False), (False, True)][int(rng.integers(3))]
    size, out = rng.integers(1, 12, 2), rng.integers(1, 24, 2)
    batch, channels = int(rng.integers(1, 3)), int(rng.integers(1, 5))
    m = Maker()
    x, y = m.tensor((batch, *size, channels), 0.1, 3), m.tensor((batch, *out, channels), 0.1, 3)
    wanted = m.tensor((2,), dtype="INT32", data=out.astype(np.int32))
    m.operator(kind, [x, wanted], [y], options, 3, alignCorners=corners, halfPixelCenters=halves)
    check(m, x, y, rng)
