"""Replays: every stored input comes, in order; what cannot be read is said and counted."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from edge_ad.errors import SourceError
from edge_ad.runtime.images import import_cv2
from edge_ad.runtime.sources import open_source

RED = np.zeros((24, 32, 3), np.uint8)
RED[..., 0] = 255


def _write(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert import_cv2().imwrite(str(path), rgb[..., ::-1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ["b/2.png", "a/10.png", "a/2.png", "c.bmp"]:
        _write(tmp_path / "parts" / name, RED)
    return tmp_path / "parts"


@pytest.mark.parametrize("form", ["{}", "images:{}"])
def test_a_folder_gives_its_images_in_order_of_their_paths_as_rgb(folder: Path, form: str) -> None:
    source = open_source(form.format(folder))
    samples = list(source)
    assert [s.name for s in samples] == ["a/10.png", "a/2.png", "b/2.png", "c.bmp"]
    assert all(np.array_equal(s.data, RED) for s in samples)
    assert [s.ts for s in samples] == sorted(s.ts for s in samples) and samples[0].ts.utcoffset() is not None
    assert (source.acquired, source.dropped, source.unreadable, source.live) == (4, 0, 0, False)


def test_images_that_cannot_be_read_are_said_one_by_one_and_do_not_end_the_run(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "a" / "empty.png").write_bytes(b"")
    (folder / "b" / "2.png").write_bytes((folder / "b" / "2.png").read_bytes()[:40])
    source = open_source(str(folder))
    with caplog.at_level(logging.WARNING):
        assert [s.name for s in source] == ["a/10.png", "a/2.png", "c.bmp"]
    assert (source.acquired, source.unreadable) == (3, 2)
    assert ["empty.png" in line or "2.png" in line for line in caplog.messages] == [True, True]


def test_a_folder_of_nothing_but_unreadable_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(SourceError, match="none of its 1 images could be read"):
        list(open_source(str(tmp_path)))


def test_a_single_image_is_a_source(folder: Path) -> None:
    assert [s.name for s in open_source(str(folder / "c.bmp"))] == ["c.bmp"]


def test_closing_ends_the_iteration(folder: Path) -> None:
    source = open_source(str(folder))
    names = []
    for sample in source:
        names.append(sample.name)
        source.close()
    assert names == ["a/10.png"]


def _video(path: Path, frames: int) -> Path:
    cv2 = import_cv2()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    assert writer.isOpened()
    for i in range(frames):
        writer.write(np.full((48, 64, 3), (0, 0, 8 * i), np.uint8))  # BGR: ever more red
    writer.release()
    return path


@pytest.mark.parametrize("form", ["{}", "video:{}"])
def test_a_video_gives_every_frame_in_order_as_rgb(tmp_path: Path, form: str) -> None:
    source = open_source(form.format(_video(tmp_path / "line.avi", 20)))
    samples = list(source)
    assert [s.name for s in samples] == [f"line.avi#{i}" for i in range(20)]
    np.testing.assert_allclose([s.data[..., 0].mean() for s in samples], np.arange(20) * 8, atol=4)
    assert max(s.data[..., 2].mean() for s in samples) < 4
    assert (source.acquired, source.dropped, source.unreadable) == (20, 0, 0)


def test_a_video_that_ends_early_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = _video(tmp_path / "cut.avi", 30)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    source = open_source(str(path))
    count = len(list(source))
    assert 5 < count < 30
    assert source.unreadable in (
        0,
        30 - count,
    )  # the index at the end is lost too, and with it the true number
    assert source.acquired == count


@pytest.mark.parametrize("content", [b"", b"not a video at all"])
def test_a_file_that_is_no_video_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(SourceError, match=r"x\.mp4: is no video"):
        open_source(str(tmp_path / "x.mp4"))


@pytest.mark.parametrize("form", ["{}", "npy:{}"])
def test_an_array_gives_its_images(tmp_path: Path, form: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 9, 11, 3), np.uint8)
    np.save(tmp_path / "x.npy", images)
    samples = list(open_source(form.format(tmp_path / "x.npy")))
    assert [s.name for s in samples] == list("01234")
    np.testing.assert_array_equal(np.stack([s.data for s in samples]), images)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(8, np.uint8), r"holds \(8,\) uint8"),
        (np.zeros((2, 8), np.bool_), "bool"),
        (np.zeros((0, 8, 8, 3), np.uint8), "no rows"),
        (np.array([{}], object), r"is no \.npy file"),
    ],
)
def test_an_array_of_another_kind_is_an_error(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(SourceError, match=message):
        open_source(f"npy:{tmp_path / 'x.npy'}")


def test_a_truncated_array_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8, 3), np.uint8))
    raw = (tmp_path / "x.npy").read_bytes()
    for size in (0, 5, 100, len(raw) - 1):
        (tmp_path / "x.npy").write_bytes(raw[:size])
        with pytest.raises(SourceError, match=r"is no \.npy file"):
            open_source(str(tmp_path / "x.npy"))


@pytest.mark.parametrize(("shape", "dtype"), [((3, 640), np.float32), ((2, 4, 5), np.int8)])
def test_rows_of_numbers_come_as_they_are(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    rows = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    np.save(tmp_path / "x.npy", rows)
    samples = list(open_source(f"npy:{tmp_path / 'x.npy'}"))
    assert [s.name for s in samples] == [str(n) for n in range(len(rows))]
    assert samples[0].data.dtype == dtype
    np.testing.assert_array_equal(np.stack([s.data for s in samples]), rows)


@pytest.mark.parametrize("form", ["{}", "images:{}", "video:{}", "npy:{}"])
def test_a_path_that_is_missing_is_an_error_that_names_it(tmp_path: Path, form: str) -> None:
    with pytest.raises(SourceError, match=f"{tmp_path}/nope: there is no such"):
        open_source(form.format(tmp_path / "nope"))


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(SourceError, match="no images in it"):
        open_source(str(tmp_path))


def test_an_unknown_scheme_names_those_that_are_known() -> None:
    with pytest.raises(SourceError, match="unknown kind of source 'lidar'; try a folder, images:PATH"):
        open_source("lidar:eth0")
