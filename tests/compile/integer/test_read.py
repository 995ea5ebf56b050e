"""A .tflite file from anywhere: what is damaged or not INT8 is refused by name, and nothing else happens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_maker import Maker
from whole_models import mixed

from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.read import parse_tflite, read_tflite
from edge_ad.errors import EdgeAdError, ModelError, TargetError

CONTENT = mixed(0)[0]


def compiles(content: bytes) -> bool:
    """Whether it does; any error but ours gets through."""
    try:
        build_image(parse_tflite(content), "plain")
    except EdgeAdError as error:
        assert str(error).isprintable()
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(CONTENT) - 1))
def test_a_truncated_file(length: int) -> None:
    compiles(CONTENT[:length])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(8, len(CONTENT) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes(changes: list[tuple[int, int]]) -> None:
    raw = bytearray(CONTENT)
    for place, value in changes:
        raw[place] = value
    compiles(bytes(raw))


def test_what_is_no_tflite_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is no \.tflite file"):
        parse_tflite(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ModelError, match="cannot be read"):
        read_tflite(tmp_path / "none.tflite")


def test_a_float_island_is_named() -> None:
    m = Maker()
    x, y, z = m.tensor((1, 4), 0.1, 0), m.tensor((1, 4), dtype="FLOAT32"), m.tensor((1, 4), 0.1, 0)
    m.operator("DEQUANTIZE", [x], [y])
    m.operator("QUANTIZE", [y], [z])
    with pytest.raises(EdgeAdError, match=r"DEQUANTIZE \(node 0\)"):
        build_image(parse_tflite(m.data([x], [z])), "plain")


def test_an_operator_that_no_board_has_is_named() -> None:
    m = Maker()
    x, y = m.tensor((1, 4), 0.1, 0), m.tensor((1, 4), 0.1, 0)
    m.operator("COS", [x], [y])
    with pytest.raises(TargetError, match=r"COS \(node 0\): no board has this operator; there are: "):
        build_image(parse_tflite(m.data([x], [y])), "plain")


def test_a_node_without_its_options_is_named() -> None:
    m = Maker()
    x, y = m.tensor((1, 4, 4, 2), 0.1, 0), m.tensor((1, 2, 2, 2), 0.1, 0)
    m.operator("MAX_POOL_2D", [x], [y])
    with pytest.raises(TargetError, match=r"MAX_POOL_2D \(node 0\): is not as this operator has to be"):
        build_image(parse_tflite(m.data([x], [y])), "plain")


def test_more_than_a_board_can_hold() -> None:
    m = Maker()
    x = m.tensor((1, 1 << 14, 1 << 14), 0.1, 0)
    with pytest.raises(ModelError, match="elements, too many"):
        parse_tflite(m.data([x], [x]))


def test_constants_that_lie_behind_the_flatbuffer() -> None:
    """As litert-torch writes large ones: a buffer holds only their place in the file."""
    weights = np.arange(-12, 12, dtype=np.int8).reshape(3, 8)

    def file(place: int | None) -> bytes:
        m = Maker()
        x, y = m.tensor((1, 8), 0.1, 0), m.tensor((1, 3), 0.1, 0)
        w = m.tensor((3, 8), 0.02, 0, data=weights)
        m.operator("FULLY_CONNECTED", [x, w], [y], "FullyConnectedOptions", 4)
        if place is not None:
            m.model.buffers[-1].data, m.model.buffers[-1].offset, m.model.buffers[-1].size = None, place, 24
        return m.data([x], [y])

    length = len(file(1000))
    outside = file(length) + weights.tobytes()
    assert len(file(length)) == length
    np.testing.assert_array_equal(parse_tflite(outside).tensors[2].data, weights)
    assert (
        build_image(parse_tflite(outside), "plain").content
        == build_image(parse_tflite(file(None)), "plain").content
    )
    with pytest.raises(ModelError, match="is damaged"):
        parse_tflite(outside[:-1])
