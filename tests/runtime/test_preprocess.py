"""The one preprocessing function: its bytes are a contract with every device that runs a bundle."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.bundle.manifest import PreprocessSpec
from edge_ad.errors import DataError, SchemaError
from edge_ad.runtime.images import import_cv2
from edge_ad.runtime.preprocess import preprocess, resize_area, resize_spec


def _picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([(x * x // 90 + k * y + x * y // 130) % 256 for k in (1, 2, 3)], -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "digest"),
    [
        ((300, 300), "c2c42ec1762b466d"),
        ((109, 616), "9590237f8e5fec24"),
        ((1080, 1920), "c4d4d8da4760d414"),
        ((50, 60), "93ae4a73c932a27a"),
    ],
)
def test_bytes_never_change(shape: tuple[int, int], digest: str) -> None:
    batch = preprocess(resize_spec(256, 256), _picture(*shape))
    assert batch.shape == (1, 3, 256, 256) and batch.dtype == np.uint8
    assert hashlib.sha256(batch.tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize(
    ("shape", "size"), [((300, 400), (128, 128)), ((1080, 1920), (256, 256)), ((60, 50), (97, 131))]
)
def test_agrees_with_opencv_within_one_grey_level(shape: tuple[int, int], size: tuple[int, int]) -> None:
    cv2 = import_cv2()
    image = _picture(*shape)
    method = cv2.INTER_AREA if shape[0] > size[0] else cv2.INTER_LINEAR
    expected = cv2.resize(image, size[::-1], interpolation=method).astype(int)
    assert np.abs(resize_area(image, size) - expected).max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.integers(0, 255))
def test_a_constant_image_stays_constant(h: int, w: int, th: int, tw: int, value: int) -> None:
    assert (resize_area(np.full((h, w, 3), value, np.uint8), (th, tw)) == value).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 60), st.integers(8, 60), st.integers(4, 60), st.integers(4, 60), st.integers(0, 99))
def test_mirrored_input_gives_mirrored_output_within_one_level(
    h: int, w: int, th: int, tw: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)
    ahead = resize_area(image, (th, tw)).astype(int)
    back = resize_area(image[::-1, ::-1], (th, tw))[::-1, ::-1].astype(int)
    assert np.abs(ahead - back).max() <= 1


def test_same_size_is_untouched() -> None:
    image = _picture(64, 64)
    assert (preprocess(resize_spec(64, 64), image)[0].transpose(1, 2, 0) == image).all()


def test_unknown_version_and_wrong_input_are_named() -> None:
    with pytest.raises(SchemaError, match="version 2"):
        preprocess(PreprocessSpec(name="image/resize-area", version=2), _picture(9, 9))
    with pytest.raises(DataError, match=r"\(H, W, 3\)"):
        preprocess(resize_spec(64, 64), np.zeros((9, 9), np.uint8))
