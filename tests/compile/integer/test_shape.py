"""Operators that move bytes equal LiteRT's reference kernels, and move none where none has to move."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_maker import Maker, reference

from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.errors import TargetError
from edge_ad.firmware_bridge.host_library import HostModel

SEEDS = st.integers(0, 2**32 - 1)
MANY = settings(max_examples=80, deadline=None)


def check(
    m: Maker, inputs: list[int], outputs: list[int], rng: np.random.Generator, steps: int | None = None
) -> None:
    """The board's results are the reference's; and, if given, it takes so many steps."""
    content = m.data(inputs, outputs)
    image = build_image(parse_tflite(content), "plain")
    if steps is not None:
        assert len(image.program.steps) == steps
    model = HostModel(image.content)
    shapes = [m.graph.tensors[i].shape for i in inputs]
    values = [rng.integers(-128, 128, shape).astype(np.int8) for shape in shapes]
    for ours, theirs in zip(model.infer(values), reference(content, values), strict=True):
        np.testing.assert_array_equal(ours, theirs.ravel())


def shape(rng: np.random.Generator, rank: int, most: int = 6) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(1, most + 1, rank))


def ints(m: Maker, values) -> int:
    data = np.atleast_1d(np.asarray(values, np.int32))
    return m.tensor(data.shape, dtype="INT32", data=data)


@MANY
@given(SEEDS)
def test_transpose(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = shape(rng, int(rng.integers(1, 6)))
    order = rng.permutation(len(size))
    m = Maker()
    x, y = m.tensor(size, 0.1, 3), m.tensor([size[i] for i in order], 0.1, 3)
    m.operator("TRANSPOSE", [x, ints(m, order)], [y], "TransposeOptions")
    check(m, [x], [y], rng)


def test_a_transpose_that_moves_nothing_takes_no_step() -> None:
    m = Maker()
    x, y = m.tensor((1, 1, 6, 5), 0.1, 3), m.tensor((1, 6, 5, 1), 0.1, 3)
    m.operator("TRANSPOSE", [x, ints(m, [0, 2, 3, 1])], [y], "TransposeOptions")
    check(m, [x], [y], np.random.default_rng(0), steps=0)


@MANY
@given(SEEDS)
def test_concatenation_along_any_axis(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = list(shape(rng, int(rng.integers(1, 5))))
    axis = int(rng.integers(-len(size), len(size)))
    m, tensors, total = Maker(), [], 0
    for _ in range(int(rng.integers(1, 5))):
        size[axis] = int(rng.integers(1, 6))
        total += size[axis]
        tensors.append(m.tensor(list(size), 0.2, -7))
    size[axis] = total
    y = m.tensor(list(size), 0.2, -7)
    m.operator("CONCATENATION", tensors, [y], "ConcatenationOptions", 2, axis=axis)
    check(m, tensors, [y], rng)


@MANY
@given(SEEDS)
def test_split_into_parts_that_are_all_outputs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = list(shape(rng, int(rng.integers(1, 5)), 4))
    axis, count = int(rng.integers(0, len(size))), int(rng.integers(1, 5))
    part = list(size)
    size[axis] *= count
    m = Maker()
    x, parts = m.tensor(size, 0.2, 5), [m.tensor(part, 0.2, 5) for _ in range(count)]
    if rng.random() < 0.5:
        m.operator("SPLIT", [ints(m, axis), x], parts, "SplitOptions", 2, numSplits=count)
    else:
        m.operator("SPLIT_V", [x, ints(m, [part[axis]] * count), ints(m, axis)], parts, "SplitVOptions", 2,
                   numSplits=count)  # fmt: skip
    check(m, [x], parts, rng)


@MANY
@given(SEEDS)
def test_slice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = shape(rng, int(rng.integers(1, 5)))
    begin = [int(rng.integers(0, n)) for n in size]
    extent = [int(rng.integers(1, n - b + 1)) for n, b in zip(size, begin, strict=True)]
    written = [
        -1 if b + e == n and rng.random() < 0.5 else e for b, e, n in zip(begin, extent, size, strict=True)
    ]
    m = Maker()
    x, y = m.tensor(size, 0.2, 5), m.tensor(extent, 0.2, 5)
    m.operator("SLICE", [x, ints(m, begin), ints(m, written)], [y], "SliceOptions", 2)
    check(m, [x], [y], rng)


@MANY
@given(SEEDS)
def test_strided_slice_with_masks_and_negative_strides(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = shape(rng, int(rng.integers(1, 5)))
    begin, end, strides, parts = [], [], [], []
    masks = {"beginMask": 0, "endMask": 0, "shrinkAxisMask": 0}
    for i, n in enumerate(size):
        b, e, s = (
            int(rng.integers(-n - 1, n + 2)),
            int(rng.integers(-n - 1, n + 2)),
            int(rng.choice([-2, -1, 1, 2, 3])),
        )
        kind = rng.choice(["plain", "begin", "end", "both", "shrink"])
        if kind == "shrink":
            b, e, s = int(rng.integers(0, n)), 0, 1
            e = b + 1
            masks["shrinkAxisMask"] |= 1 << i
            part: object = b
        else:
            masks["beginMask"] |= (kind in ("begin", "both")) << i
            masks["endMask"] |= (kind in ("end", "both")) << i
            part = slice(None if kind in ("begin", "both") else b, None if kind in ("end", "both") else e, s)
        begin.append(b), end.append(e), strides.append(s), parts.append(part)
    expected = np.zeros(size)[tuple(parts)]
    if expected.size == 0:
        return
    m = Maker()
    x, y = m.tensor(size, 0.2, 5), m.tensor(expected.shape, 0.2, 5)
    m.operator("STRIDED_SLICE", [x, ints(m, begin), ints(m, end), ints(m, strides)], [y], "StridedSliceOptions", 2,
               **masks)  # fmt: skip
    check(m, [x], [y], rng)


@MANY
@given(SEEDS)
def test_pad_with_the_zero_point_or_a_given_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = shape(rng, int(rng.integers(1, 5)), 5)
    margins = rng.integers(0, 4, (len(size), 2))
    zero = int(rng.integers(-128, 128))
    m = Maker()
    x, y = m.tensor(size, 0.2, zero), m.tensor(np.array(size) + margins.sum(1), 0.2, zero)
    amounts = m.tensor(margins.shape, dtype="INT32", data=margins.astype(np.int32))
    if rng.random() < 0.5:
        m.operator("PAD", [x, amounts], [y], "PadOptions", 2)
    else:
        value = m.tensor((1,), 0.2, zero, data=rng.integers(-128, 128, 1).astype(np.int8))
        m.operator("PADV2", [x, amounts, value], [y], "PadV2Options", 2)
    check(m, [x], [y], rng)


@pytest.mark.parametrize("kind", ["RESHAPE", "SQUEEZE", "EXPAND_DIMS"])
def test_a_new_shape_takes_no_step(kind: str) -> None:
    m = Maker()
    x = m.tensor((1, 4, 3), 0.2, 5)
    new = {"RESHAPE": (2, 6), "SQUEEZE": (4, 3), "EXPAND_DIMS": (1, 1, 4, 3)}[kind]
    y = m.tensor(new, 0.2, 5)
    if kind == "RESHAPE":
        m.operator(kind, [x, ints(m, new)], [y], "ReshapeOptions", newShape=list(new))
    elif kind == "SQUEEZE":
        m.operator(kind, [x], [y], "SqueezeOptions", squeezeDims=[0])
    else:
        m.operator(kind, [x, ints(m, 0)], [y], "ExpandDimsOptions")
    check(m, [x], [y], np.random.default_rng(1), steps=0)


def test_a_reshape_of_what_is_used_again_and_changed_in_place_keeps_both() -> None:
    """The table after the reshape may not write over what the other branch still reads."""
    m = Maker()
    x = m.tensor((2, 6), 0.05, 5)
    flat, low, y = m.tensor((12,), 0.05, 5), m.tensor((12,), 1 / 256, -128), m.tensor((2, 6), 0.05, 5)
    m.operator("RESHAPE", [x, ints(m, [12])], [flat], "ReshapeOptions", newShape=[12])
    m.operator("LOGISTIC", [flat], [low])
    m.operator("RELU", [x], [y])
    check(m, [x], [low, y], np.random.default_rng(2))


def test_an_input_may_be_an_output() -> None:
    m = Maker()
    x, y = m.tensor((3, 4), 0.05, 5), m.tensor((12,), 0.05, 5)
    m.operator("RESHAPE", [x, ints(m, [12])], [y], "ReshapeOptions", newShape=[12])
    check(m, [x], [y, x], np.random.default_rng(3))


def test_shapes_that_are_computed_are_refused() -> None:
    m = Maker()
    x, order, y = m.tensor((3, 4), 0.1, 0), m.tensor((2,), 0.1, 0), m.tensor((4, 3), 0.1, 0)
    m.operator("TRANSPOSE", [x, order], [y], "TransposeOptions")
    with pytest.raises(TargetError, match=r"TRANSPOSE \(node 0\): .* is computed"):
        build_image(parse_tflite(m.data([x, order], [y])), "plain")
