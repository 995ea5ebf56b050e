"""SOFTMAX equals LiteRT's reference kernel to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_maker import Maker, reference

from edge_ad.compile.integer.image import Image, build_image
from edge_ad.compile.integer.operators.softmax import exponentials
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.errors import TargetError
from edge_ad.firmware_bridge.host_library import HostModel


def softmax_file(shape, scale, zero=0, beta=1.0, y_scale=1 / 256, y_zero=-128, y_shape=None) -> bytes:
    m = Maker()
    x, y = m.tensor(shape, scale, zero), m.tensor(y_shape or shape, y_scale, y_zero)
    m.operator("SOFTMAX", [x], [y], "SoftmaxOptions", 2, beta=beta)
    return m.data([x], [y])


def compiled(content: bytes) -> tuple[Image, HostModel]:
    image = build_image(parse_tflite(content), "plain")
    return image, HostModel(image.content, image.plan.size)


@settings(max_examples=750, deadline=None)
@given(st.sampled_from([1.0, 0.5, 0.01, 2.3, 30.0]), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_equals_the_reference(beta: float, rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (*(int(n) for n in rng.integers(1, 4, rank - 1)), int(rng.integers(1, 120)))
    content = softmax_file(shape, 10.0 ** rng.uniform(-5, 1.5), rng.integers(-128, 128), beta)
    spread = int(rng.choice([3, 20, 300]))
    values = rng.integers(-spread, spread + 1, shape).clip(-128, 127).astype(np.int8)
    _, model = compiled(content)
    np.testing.assert_array_equal(model.infer([values])[0], reference(content, [values])[0].ravel())


@pytest.mark.parametrize("depth", [2, 511, 1000, 4095])
def test_many_classes(depth: int) -> None:
    """As long as the exponentials' sum stays below 512: from there on the reference aborts."""
    content = softmax_file((2, depth), 0.1)
    values = np.random.default_rng(depth).integers(-128, 80, (2, depth)).astype(np.int8)
    values[:, depth // 2] = 110
    _, model = compiled(content)
    np.testing.assert_array_equal(model.infer([values])[0], reference(content, [values])[0].ravel())


def test_thousands_of_equal_classes_have_no_share() -> None:
    _, model = compiled(softmax_file((1, 4095), 0.1))
    assert (model.infer([np.zeros(4095, np.int8)])[0] == -128).all()


def test_exponentials_are_those_of_the_real_function() -> None:
    table = exponentials(0.05 * 2**26)
    exact = np.exp(-0.05 * np.arange(256))
    assert np.abs(table / 2.0**31 - exact).max() < 1e-5


def test_runs_in_place() -> None:
    image, _ = compiled(softmax_file((1, 256), 0.1))
    assert image.plan.size == 256


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (softmax_file((1, 10), 0.1, y_scale=0.1), "scale 0.1"),
        (softmax_file((1, 10), 0.1, y_zero=0), "zero point 0"),
        (softmax_file((1, 5000), 0.1), "5000 classes"),
        (softmax_file((1, 10), 1e-12), "out of range"),
        (softmax_file((1, 10), 0.1, beta=-1.0), "out of range"),
        (softmax_file((1, 10), 0.1, y_shape=(1, 11)), "shape"),
    ],
)
def test_what_is_not_covered_is_named(content: bytes, what: str) -> None:
    with pytest.raises(TargetError, match=what) as caught:
        build_image(parse_tflite(content), "plain")
    assert "SOFTMAX (node 0)" in str(caught.value)
