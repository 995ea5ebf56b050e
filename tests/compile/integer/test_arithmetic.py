"""ADD, SUB and MUL equal LiteRT's reference kernels to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_maker import Maker, reference

from edge_ad.compile.integer.image import Image, build_image
from edge_ad.compile.integer.operators.arithmetic import broadcast_geometry
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.compile.integer.records.arithmetic import Table
from edge_ad.errors import TargetError
from edge_ad.firmware_bridge.host_library import HostModel

KINDS = ["ADD", "SUB", "MUL"]
ALL_PAIRS = (
    np.repeat(np.arange(-128, 128), 256).astype(np.int8),
    np.tile(np.arange(-128, 128), 256).astype(np.int8),
)


def compiled(content: bytes) -> tuple[Image, HostModel]:
    image = build_image(parse_tflite(content), "plain")
    return image, HostModel(image.content, image.plan.size)


def random_scales(rng: np.random.Generator, kind: str) -> tuple[float, float, float]:
    """Of both operands and of the output; often powers of two, where halves occur and roundings show."""
    if rng.random() < 0.3:
        a, b = (2.0 ** rng.integers(-6, 3) for _ in range(2))
        return a, b, (a * b if kind == "MUL" else max(a, b)) * 2.0 ** rng.integers(-4, 7)
    a, b = 10.0 ** rng.uniform(-4, 1), 10.0 ** rng.uniform(-4, 1)
    return a, b, (100 * a * b if kind == "MUL" else max(a, b)) * 10.0 ** rng.uniform(-1.5, 1.5)


@settings(max_examples=180, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 2**32 - 1))
def test_every_pair_of_values(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a_scale, b_scale, y_scale = random_scales(rng, kind)
    m = Maker()
    a = m.tensor((65536,), a_scale, rng.integers(-128, 128))
    b = m.tensor((65536,), b_scale, rng.integers(-128, 128))
    y = m.tensor((65536,), y_scale, rng.integers(-128, 128))
    m.operator(kind, [a, b], [y], f"{kind.title()}Options", 2, fusedActivationFunction=int(rng.integers(4)))
    content = m.data([a, b], [y])
    _, model = compiled(content)
    np.testing.assert_array_equal(model.infer(list(ALL_PAIRS))[0], reference(content, list(ALL_PAIRS))[0])


@settings(max_examples=180, deadline=None)
@given(st.sampled_from(["ADD", "SUB"]), st.integers(0, 2**32 - 1))
def test_the_last_bit_of_the_raised_sum(kind: str, seed: int) -> None:
    """An output scale so fine that the output shows the sum's lowest bits, where the operands nearly cancel."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-3, 1)
    m = Maker()
    sign = -1 if kind == "ADD" else 1
    zero = int(rng.integers(-127, 128))
    a = m.tensor((256,), scale, zero)
    b = m.tensor((256,), scale * (1 + rng.integers(-5, 6) * 2.0**-22), sign * zero)
    y = m.tensor((256,), scale * 2.0**-19 * rng.uniform(1.01, 2), rng.integers(-128, 128))
    m.operator(kind, [a, b], [y], f"{kind.title()}Options", 2)
    content = m.data([a, b], [y])
    x = np.arange(-127, 129).clip(-127, 127).astype(np.int8)
    _, model = compiled(content)
    np.testing.assert_array_equal(model.infer([x, sign * x])[0], reference(content, [x, sign * x])[0])


@st.composite
def broadcasting(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    full = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    a, b = list(full), list(full)
    for axis in range(len(full)):
        (draw(st.sampled_from([a, b, [0] * 5])))[axis] = 1
    return tuple(a), tuple(b[draw(st.integers(0, len(b) - 1)) :])


@settings(max_examples=450, deadline=None)
@given(
    st.sampled_from(KINDS),
    broadcasting(),
    st.booleans(),
    st.sampled_from(["", "a", "b"]),
    st.integers(0, 2**32 - 1),
)
def test_broadcasting_and_constants(
    kind: str, shapes: tuple[tuple[int, ...], tuple[int, ...]], swapped: bool, constant: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    if swapped:
        shapes = shapes[1], shapes[0]
    values = {n: rng.integers(-128, 128, s).astype(np.int8) for n, s in zip("ab", shapes, strict=True)}
    *scales, y_scale = random_scales(rng, kind)
    m = Maker()
    tensors = {
        name: m.tensor(v.shape, scale, rng.integers(-128, 128), data=v if name == constant else None)
        for (name, v), scale in zip(values.items(), scales, strict=True)
    }
    y = m.tensor(np.broadcast_shapes(*shapes), y_scale, rng.integers(-128, 128))
    m.operator(kind, list(tensors.values()), [y], f"{kind.title()}Options", 2, fusedActivationFunction=0)
    inputs = [n for n in tensors if n != constant]
    content = m.data([tensors[n] for n in inputs], [y])
    _, model = compiled(content)
    given_values = [values[n] for n in inputs]
    np.testing.assert_array_equal(model.infer(given_values)[0], reference(content, given_values)[0].ravel())


@pytest.mark.parametrize(
    "scales", [(0.3533339, 0.28320187, 10.560463), (0.9890138, 0.013960403, 1.4400485)], ids=["one", "other"]
)
def test_the_ratio_of_scales_of_a_product_is_float32(scales: tuple[float, float, float]) -> None:
    """In float64 some of these products come out one step off."""
    m = Maker()
    a, b, y = (m.tensor((65536,), np.float32(scale), 0) for scale in scales)
    m.operator("MUL", [a, b], [y], "MulOptions", 2)
    content = m.data([a, b], [y])
    _, model = compiled(content)
    np.testing.assert_array_equal(model.infer(list(ALL_PAIRS))[0], reference(content, list(ALL_PAIRS))[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operands", ["itself", "constant left", "constant right"])
def test_what_depends_on_one_value_is_a_table(kind: str, operands: str) -> None:
    m = Maker()
    x = m.tensor((1, 16, 16), 0.05, 3)
    c = m.tensor((1, 1), 0.1, -7, data=np.array([[55]], np.int8))
    y = m.tensor((1, 16, 16), 0.2, 5)
    pair = {"itself": [x, x], "constant left": [c, x], "constant right": [x, c]}[operands]
    m.operator(kind, pair, [y], f"{kind.title()}Options", 2, fusedActivationFunction=1)
    content = m.data([x], [y])
    image, model = compiled(content)
    assert [type(step.record) for step in image.program.steps] == [Table]
    values = np.arange(-128, 128).astype(np.int8)
    np.testing.assert_array_equal(model.infer([values])[0], reference(content, [values])[0].ravel())


def test_an_addition_takes_the_place_of_an_operand_that_is_read_no_more() -> None:
    m = Maker()
    a, b, c = (m.tensor((4, 64), 0.1, 0) for _ in range(3))
    ab, y = m.tensor((4, 64), 0.2, 0), m.tensor((4, 64), 0.3, 0)
    m.operator("ADD", [a, b], [ab], "AddOptions", 2)
    m.operator("SUB", [c, ab], [y], "SubOptions", 2)
    content = m.data([a, b, c], [y])
    image, model = compiled(content)
    assert image.plan.size == 3 * 256
    values = list(np.random.default_rng(0).integers(-128, 128, (3, 4, 64)).astype(np.int8))
    np.testing.assert_array_equal(model.infer(values)[0], reference(content, values)[0].ravel())


def test_rows_are_as_long_as_can_be() -> None:
    same = broadcast_geometry((2, 3, 4, 5), (2, 3, 4, 5))
    per_channel = broadcast_geometry((2, 3, 4, 5), (5,))
    assert same is not None and same[0].tolist() == [1, 1, 1, 1, 120]
    assert per_channel is not None and per_channel.tolist() == [
        [1, 1, 1, 24, 5],
        [0, 0, 0, 5, 1],
        [0, 0, 0, 0, 1],
    ]


def _two(shape_a=(1, 4), shape_b=(1, 4), shape_y=(1, 4), y_scale=0.1, **b_options) -> bytes:
    m = Maker()
    a, b = m.tensor(shape_a, 0.1, 0), m.tensor(shape_b, **({"scale": 0.1} | b_options))
    y = m.tensor(shape_y, y_scale, 0)
    m.operator("ADD", [a, b], [y], "AddOptions", 2)
    return m.data([a] if "data" in b_options else [a, b], [y])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (_two(y_scale=1e-8), "output's scale"),
        (_two(shape_b=(1, 3)), r"\(1, 4\) with \(1, 3\)"),
        (_two(shape_y=(1, 5)), r"does not broadcast to \(1, 5\)"),
        (_two((2,) * 6, (2, 1, 2, 1, 2, 1), (2,) * 6), "5 dimensions"),
        (_two(scale=None, data=np.ones((1, 4), np.int8)), "constant"),
        (_two(scale=[0.1] * 4, axis=1, data=np.ones((1, 4), np.int8)), "one scale"),
        (_two(dtype="INT32", data=np.ones((1, 4), np.int32)), "INT8"),
    ],
)
def test_what_is_not_covered_is_named(content: bytes, what: str) -> None:
    with pytest.raises(TargetError, match=what) as caught:
        build_image(parse_tflite(content), "plain")
    assert "ADD (node 0)" in str(caught.value)
