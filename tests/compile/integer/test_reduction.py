"""MEAN equals LiteRT's reference kernel to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_maker import Maker, reference

from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.operators.reduction import merged_walks
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.errors import TargetError
from edge_ad.firmware_bridge.host_library import HostModel


def mean_file(shape, axes, keep, x_scale, x_zero, y_scale, y_zero, y_shape=None) -> bytes:
    m = Maker()
    x = m.tensor(shape, x_scale, x_zero)
    index = m.tensor((len(axes),), dtype="INT32", data=np.array(axes, np.int32))
    over = {a % len(shape) for a in axes}
    wanted = [1 if i in over else n for i, n in enumerate(shape) if keep or i not in over]
    y = m.tensor(wanted if y_shape is None else y_shape, y_scale, y_zero)
    m.operator("MEAN", [x, index], [y], "ReducerOptions", 2, keepDims=keep)
    return m.data([x], [y])


def assert_equal(content: bytes, values: np.ndarray) -> None:
    image = build_image(parse_tflite(content), "plain")
    model = HostModel(image.content, image.plan.size)
    np.testing.assert_array_equal(model.infer([values])[0], reference(content, [values])[0].ravel())


def random_quantization(rng: np.random.Generator) -> tuple[float, int, float, int]:
    scale, zero = 10.0 ** rng.uniform(-4, 1), int(rng.integers(-128, 128))
    if rng.random() < 0.3:  # the reference has a path of its own for equal scales in some versions
        return scale, zero, scale, zero
    if rng.random() < 0.3:
        return 2.0**-4, zero, 2.0 ** rng.integers(-8, 1), int(rng.integers(-128, 128))
    return scale, zero, scale * 10.0 ** rng.uniform(-1.5, 0.5), int(rng.integers(-128, 128))


def random_values(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Also such as differ little, whose means lie within the output's range for fine scales too."""
    centre, spread = int(rng.integers(-100, 101)), int(rng.choice([2, 10, 300]))
    return (centre + rng.integers(-spread, spread + 1, shape)).clip(-128, 127).astype(np.int8)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=6), st.booleans(), st.data(), st.integers(0, 2**32 - 1)
)
def test_any_axes(extents: list[int], keep: bool, data: st.DataObject, seed: int) -> None:
    rank = len(extents)
    axes = data.draw(st.lists(st.integers(-rank, rank - 1), min_size=1, max_size=rank))
    rng = np.random.default_rng(seed)
    shape = tuple(extents)
    assert_equal(mean_file(shape, axes, keep, *random_quantization(rng)), random_values(rng, shape))


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.sampled_from([(1, 2), (2, 1), (-2, -3)]), st.integers(0, 2**32 - 1))
def test_spatial_means(keep: bool, axes: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(rng.integers(1, n)) for n in (4, 40, 40, 20))
    assert_equal(mean_file(shape, axes, keep, *random_quantization(rng)), random_values(rng, shape))


def test_a_large_plane() -> None:
    shape = (1, 256, 256, 3)
    values = np.full(shape, -128, np.int8)
    assert_equal(mean_file(shape, [1, 2], True, 0.05, 127, 0.04, 127), values)


def test_the_ratio_of_scales_is_no_float32() -> None:
    """The sum -104659 of these thousand values gives -90 with a ratio of scales in float32, and -89 in float64."""
    values = np.full((1, 1000), -105, np.int8)
    values[0, :341] += 1
    content = mean_file((1, 1000), [1], False, np.float32(0.16349834), 0, np.float32(0.19119285), 0)
    assert_equal(content, values)
    assert reference(content, [values])[0].item() == -89


@pytest.mark.parametrize("y_scale", [1e-3, 1e3, 1e7, 1e9])
def test_scales_far_apart(y_scale: float) -> None:
    content = mean_file((8, 1000), [1], False, 0.01, 3, y_scale, -5)
    assert_equal(content, np.random.default_rng(0).integers(-128, 128, (8, 1000)).astype(np.int8))


def test_neighbouring_dimensions_are_walked_as_one() -> None:
    assert merged_walks((2, 3, 4, 5), {1, 2}) == ([(1, 0), (2, 60), (5, 1)], [(1, 0), (1, 0), (12, 5)])
    assert merged_walks((2,) * 8, {0, 2, 4, 6}) is None


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (mean_file((1, 4, 4, 2), [1, 5], True, 0.1, 0, 0.1, 0, (1, 1, 4, 2)), "axes"),
        (mean_file((1, 4, 4, 2), [1, 2], True, 0.1, 0, 0.1, 0, (1, 2, 1, 2)), "does not give"),
        (mean_file((2,) * 8, [0, 2, 4, 6], False, 0.1, 0, 0.1, 0), "too large"),
    ],
)
def test_what_is_not_covered_is_named(content: bytes, what: str) -> None:
    with pytest.raises(TargetError, match=what) as caught:
        build_image(parse_tflite(content), "plain")
    assert "MEAN (node 0)" in str(caught.value)
