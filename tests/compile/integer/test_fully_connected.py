"""FULLY_CONNECTED equals LiteRT's reference kernel to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.firmware_bridge.host_library import HostModel

from tflite_maker import Maker, reference  # noqa: I001


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_equals_the_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch, depth, units = (int(rng.integers(1, n)) for n in (4, 70, 20))
    per_channel = rng.random() < 0.5
    m = Maker()
    x_scale = np.float32(rng.uniform(0.001, 1))
    x = m.tensor((batch, depth), x_scale, rng.integers(-128, 128))
    w_scale = rng.uniform(0.001, 0.1, units if per_channel else 1).astype(np.float32)
    w = m.tensor((units, depth), w_scale, 0, data=rng.integers(-127, 128, (units, depth)).astype(np.int8))
    b = m.tensor((units,), x_scale * w_scale, 0, dtype="INT32", data=rng.integers(-5000, 5000, units).astype(np.int32))
    y = m.tensor((batch, units), rng.uniform(0.01, 5), rng.integers(-128, 128))
    m.operator("FULLY_CONNECTED", [x, w, b], [y], "FullyConnectedOptions", 4,
               fusedActivationFunction=int(rng.choice([0, 1, 3])))  # fmt: skip
    content = m.data([x], [y])
    model = HostModel(build_image(parse_tflite(content), "plain").content)
    values = rng.integers(-128, 128, (batch, depth)).astype(np.int8)
    np.testing.assert_array_equal(model.infer([values])[0], reference(content, [values])[0].ravel())
