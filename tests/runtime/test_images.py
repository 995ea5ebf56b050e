"""Reading image files: what is accepted comes out as (H, W, 3) RGB, what is not is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edge_ad.runtime.images as images
from edge_ad.errors import DataError
from edge_ad.runtime.images import decode_image, import_cv2, list_images, read_image

cv2 = import_cv2()
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (40, 50, 3), np.uint8)


def _encode(extension: str, image: np.ndarray) -> bytes:
    ok, data = cv2.imencode(extension, image)
    assert ok
    return data.tobytes()


def test_colours_come_out_as_rgb(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_encode(".png", RGB[..., ::-1]))
    assert (read_image(path) == RGB).all()


def test_grey_becomes_three_equal_channels_and_alpha_is_ignored() -> None:
    grey = decode_image(_encode(".png", RGB[..., 0]), where="grey")
    assert (grey == RGB[..., :1]).all() and grey.shape == RGB.shape
    alpha = np.dstack([RGB[..., ::-1], np.full(RGB.shape[:2], 7, np.uint8)])
    assert (decode_image(_encode(".png", alpha), where="rgba") == RGB).all()


@pytest.mark.parametrize("image", [RGB.astype(np.uint16) * 257, RGB[..., 0].astype(np.uint16)])
def test_16_bits_are_refused(image: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"deep\.png: has 16 bits a channel"):
        decode_image(_encode(".png", image), where="deep.png")


def test_float_tiff_is_refused() -> None:
    with pytest.raises(DataError, match="32 bits"):
        decode_image(_encode(".tiff", RGB.astype(np.float32)), where="x.tiff")


@pytest.mark.parametrize("extension", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_files_are_refused(extension: str, share: float) -> None:
    whole = _encode(extension, RGB)
    with pytest.raises(DataError, match="truncated"):
        decode_image(whole[: int(len(whole) * share)], where="cut")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([".png", ".jpg", ".bmp"]), st.integers(0, 10_000))
def test_rubbish_is_refused_or_decoded_but_never_anything_else(
    rubbish: bytes, extension: str, at: int
) -> None:
    whole = bytearray(_encode(extension, RGB))
    at %= len(whole)
    whole[at : at + len(rubbish)] = rubbish
    for data in (rubbish, bytes(whole)):
        try:
            image = decode_image(data, where="x")
        except DataError:
            continue
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


def test_huge_and_tiny_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    with pytest.raises(DataError, match="million pixels"):
        decode_image(_encode(".png", RGB), where="huge")
    with pytest.raises(DataError, match="only 4 x 20 px"):
        decode_image(_encode(".png", RGB[:20, :4]), where="tiny")


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    """A PNG of 20,000 x 20,000 px that takes a few hundred bytes."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(20_001)))
    with pytest.raises(DataError):
        decode_image(bomb + chunk(b"IEND", b""), where="bomb.png")


def test_missing_file_and_listing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_image(tmp_path / "none.png")
    (tmp_path / "b").mkdir()
    for name in ("b/2.PNG", "a.jpg", "note.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [p.name for p in list_images(tmp_path)] == ["a.jpg", "2.PNG"]
