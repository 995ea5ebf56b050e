"""Reading scans: what is accepted comes out as (N, 4) float32, what is not is refused by name and place."""

from __future__ import annotations

import gzip
import logging
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_ad.errors import DataError, SourceError
from edge_ad.runtime import scans
from edge_ad.runtime.pcd import read_pcd
from edge_ad.runtime.scans import list_scans, read_scan
from edge_ad.runtime.sources.replay import Scans
from tests.support.scan_files import lzf, pcd, ring_scan, write_bin

SCAN = ring_scan(4, 30)
STORED = ("ascii", "binary", "binary_compressed")


def _npy(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def test_kitti_scans_come_out_as_stored(tmp_path: Path) -> None:
    plain = write_bin(tmp_path / "a.bin", SCAN)
    packed = tmp_path / "b.bin.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        points = read_scan(path)
        assert points.dtype == np.float32 and np.array_equal(points, SCAN)


@pytest.mark.parametrize("data", STORED)
def test_pcd_gives_the_same_points_however_it_is_stored(tmp_path: Path, data: str) -> None:
    path = tmp_path / "a.pcd"
    path.write_bytes(pcd(SCAN, data))
    assert np.array_equal(read_scan(path), SCAN)


@pytest.mark.parametrize("data", STORED)
def test_pcd_fields_are_found_by_name(tmp_path: Path, data: str) -> None:
    path = tmp_path / "a.pcd"
    path.write_bytes(pcd(SCAN[:, [3, 2, 0, 1, 0]], data, fields="i z x y ring"))
    assert np.array_equal(read_scan(path), SCAN)
    path.write_bytes(pcd(SCAN[:, :3], data, fields="x y z"))
    assert np.array_equal(read_scan(path)[:, :3], SCAN[:, :3]) and not read_scan(path)[:, 3].any()


def test_pcd_skips_fields_of_several_values_and_of_other_types(tmp_path: Path) -> None:
    dtype = np.dtype([("x", "<f8"), ("normal", "<f4", (3,)), ("y", "<f4"), ("z", "<i2"), ("intensity", "u1")])
    table = np.zeros(5, dtype)
    table["x"], table["y"], table["z"], table["intensity"] = 1.5, [1, 2, 3, 4, 5], -2, 200
    header = (
        b"VERSION .7\nFIELDS x normal y z intensity\nSIZE 8 4 4 2 1\nTYPE F F F I U\nCOUNT 1 3 1 1 1\n"
        b"WIDTH 5\nHEIGHT 1\nPOINTS 5\nDATA binary\n"
    )
    path = tmp_path / "a.pcd"
    path.write_bytes(header + table.tobytes())
    assert read_scan(path).tolist() == [[1.5, y, -2.0, 200.0] for y in range(1, 6)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_npy_takes_three_or_four_columns_of_any_numbers(tmp_path: Path, dtype: type) -> None:
    array = (SCAN * 10).astype(dtype)
    assert np.array_equal(read_scan(_npy(tmp_path / "a.npy", array)), array.astype(np.float32))
    without = read_scan(_npy(tmp_path / "b.npy", array[:, :3]))
    assert np.array_equal(without[:, :3], array[:, :3].astype(np.float32)) and not without[:, 3].any()


def test_points_at_the_origin_are_no_echoes(tmp_path: Path) -> None:
    marked = np.insert(SCAN, [0, 7, len(SCAN)], 0, axis=0)
    assert np.array_equal(read_scan(write_bin(tmp_path / "a.bin", marked)), SCAN)
    with pytest.raises(DataError, match=r"b\.bin: holds no echoes"):
        read_scan(write_bin(tmp_path / "b.bin", np.zeros((3, 4))))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", range(4))
def test_values_that_are_not_finite_are_refused_by_point(tmp_path: Path, value: float, column: int) -> None:
    bad = SCAN.copy()
    bad[[41, 70], column] = value
    with pytest.raises(
        DataError, match=rf"a\.bin: 2 of {len(SCAN)} points are not finite, the first is point 42"
    ):
        read_scan(write_bin(tmp_path / "a.bin", bad))


def test_in_ascii_the_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pcd"
    lines = pcd(SCAN, "ascii").split(b"\n")
    for broken, message in (
        (b"nan 1 2 3", "nan is no finite"),
        (b"1 2 x 3", "x"),
        (b"1 2 3", "3 values where 4"),
    ):
        path.write_bytes(b"\n".join([*lines[:20], broken, *lines[21:]]))
        with pytest.raises(DataError, match=rf"a\.pcd: line 21: .*{message}"):
            read_scan(path)


def test_no_points_are_refused(tmp_path: Path) -> None:
    for path in (write_bin(tmp_path / "a.bin", SCAN[:0]), _npy(tmp_path / "a.npy", SCAN[:0])):
        with pytest.raises(DataError, match="holds no points"):
            read_scan(path)
    (tmp_path / "a.pcd").write_bytes(pcd(SCAN[:0], "ascii"))
    with pytest.raises(DataError, match=r"a\.pcd: holds no points"):
        read_scan(tmp_path / "a.pcd")


def test_another_stride_is_refused_and_five_values_a_point_are_suspected(tmp_path: Path) -> None:
    five = write_bin(tmp_path / "five.bin", np.ones((33, 5)))
    with pytest.raises(
        DataError, match=r"five\.bin: its 660 bytes are no multiple of 16 .*five values a point"
    ):
        read_scan(five)
    five.write_bytes(b"1234567")
    with pytest.raises(DataError) as caught:
        read_scan(five)
    assert "five values" not in str(caught.value)


def test_values_that_no_sensor_gives_point_at_another_layout(tmp_path: Path) -> None:
    doubles = SCAN.astype(np.float64)
    path = tmp_path / "a.bin"
    path.write_bytes(doubles.tobytes())
    with pytest.raises(DataError, match=r"a\.bin: .*(beyond 10 km|not finite).*; .*"):
        read_scan(path)
    far = SCAN.copy()
    far[9, 1] = -10_001
    with pytest.raises(DataError, match="point 10 lies beyond 10 km; check its layout"):
        read_scan(write_bin(path, far))


@pytest.mark.parametrize("data", STORED)
def test_a_truncated_pcd_is_refused(tmp_path: Path, data: str) -> None:
    path = tmp_path / "a.pcd"
    whole = pcd(SCAN, data)
    for size in (len(whole) - 40, len(whole) // 2, 100, 10, 0):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"a\.pcd: "):
            read_scan(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"FIELDS x y z", b"FIELDS x y w", "has no field z, only x, y, w, intensity"),
        (b"DATA binary", b"DATA packed", "its data is 'packed'; known: ascii, binary, binary_compressed"),
        (b"SIZE 4 4", b"SIZE 4", "do not fit together"),
        (b"TYPE F", b"TYPE Q", "header cannot be read"),
        (b"VIEWPOINT", b"VIEWED", "line 9: is no line of a PCD header"),
        (b"COUNT 1", b"COUNT 2", "field x has several values a point"),
        (b"POINTS 120", b"POINTS 99999999999", "holds more than 10 million points"),
        (b"POINTS 120", b"POINTS 121", "ends after 120 of 121 points"),
        (b"POINTS 120", b"POINTS -1", "header cannot be read"),
    ],
)
def test_a_pcd_header_that_is_wrong_is_refused(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    path = tmp_path / "a.pcd"
    whole = pcd(SCAN, "binary")
    assert old in whole
    path.write_bytes(whole.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        read_scan(path)


@pytest.mark.parametrize(
    "array", [np.zeros((5, 2)), np.zeros(8), np.zeros((3, 4), complex), np.zeros((3, 4), "U3")]
)
def test_npy_of_another_kind_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"a\.npy: holds"):
        read_scan(_npy(tmp_path / "a.npy", array))


def test_npy_with_objects_or_without_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy: is no \.npy"):
        read_scan(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.npy: is no \.npy"):
        read_scan(path)


def test_missing_damaged_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.bin: cannot be read \(No such file"):
        read_scan(tmp_path / "none.bin")
    (tmp_path / "a.bin.gz").write_bytes(gzip.compress(SCAN.tobytes())[:-9])
    with pytest.raises(DataError, match=r"a\.bin\.gz: cannot be read"):
        read_scan(tmp_path / "a.bin.gz")
    (tmp_path / "b.bin.gz").write_bytes(SCAN.tobytes())
    with pytest.raises(DataError, match=r"b\.bin\.gz: cannot be read"):
        read_scan(tmp_path / "b.bin.gz")
    (tmp_path / "a.ply").write_bytes(b"ply")
    with pytest.raises(DataError, match=r"a\.ply: is no scan; known: \.bin"):
        read_scan(tmp_path / "a.ply")


def test_a_small_file_cannot_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "MAX_POINTS", 1000)
    path = tmp_path / "bomb.bin.gz"
    path.write_bytes(gzip.compress(bytes(64_000_000)))
    tracemalloc.start()
    with pytest.raises(DataError, match="holds more than"):
        read_scan(path)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(STORED))
def test_no_bytes_make_the_pcd_reader_fail_otherwise(body: bytes, data: str) -> None:
    header = pcd(SCAN[:4], data)[: pcd(SCAN[:4], data).index(b"DATA")]
    for raw in (body, header + body, header + b"DATA " + data.encode() + b"\n" + body):
        try:
            table = read_pcd(raw, Path("fuzz.pcd"))
        except DataError as error:
            assert str(error).startswith("fuzz.pcd: ")
        else:
            assert table.shape == (4, 4)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32, st.tuples(st.integers(1, 40), st.just(4)), elements=st.sampled_from([0, 1, -2.5, 7e3])
    )
)
def test_compressed_points_survive(points: np.ndarray) -> None:
    assert np.array_equal(read_pcd(pcd(points, "binary_compressed"), Path("a.pcd")), points)
    assert len(lzf(bytes(1000))) < 100, "the compressor of this test makes no references"


def test_scans_are_listed_by_path_whatever_lies_beside_them(tmp_path: Path) -> None:
    names = ["a/2.bin", "a/1.pcd", "b.npy", "c.BIN.GZ"]
    for name in names:
        write_bin(tmp_path / name, SCAN)
    for other in ("a/1.png", "times.txt", "x.gz"):
        (tmp_path / other).write_bytes(b"")
    (tmp_path / "folder.bin").mkdir()
    assert [str(p.relative_to(tmp_path)) for p in list_scans(tmp_path)] == [
        "a/1.pcd",
        "a/2.bin",
        "b.npy",
        "c.BIN.GZ",
    ]


def test_a_folder_of_scans_is_replayed_and_what_cannot_be_read_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        write_bin(tmp_path / f"{number}.bin", SCAN + number)
    (tmp_path / "1.bin").write_bytes(b"broken")
    with caplog.at_level(logging.WARNING):
        source = Scans(tmp_path)
        samples = list(source)
    assert [s.name for s in samples] == ["0.bin", "2.bin"] and np.array_equal(samples[1].data, SCAN + 2)
    assert (source.acquired, source.unreadable, source.dropped, source.live) == (2, 1, 0, False)
    assert "1.bin: its 6 bytes are no multiple of 16" in caplog.text


def test_a_folder_without_scans_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"there are no scans in it; known: \.bin"):
        Scans(tmp_path)
    (tmp_path / "a.bin").write_bytes(b"broken")
    with pytest.raises(SourceError, match="none of its 1 scans could be read"):
        list(Scans(tmp_path))


def test_real_scans_are_read(data_folder: Path) -> None:
    folder = data_folder / "lidar" / "kitti_drive_a" / "velodyne"
    if not folder.is_dir():
        pytest.skip("the KITTI scans are not on this machine (set EDGE_AD_DATA)")
    paths = list_scans(folder)
    for path in (paths[0], paths[-1]):
        points = read_scan(path)
        assert 100_000 < len(points) < 130_000 and 0 <= points[:, 3].min() <= points[:, 3].max() < 1
