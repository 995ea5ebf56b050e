"""Series files are read as they are meant, in pieces, and what is wrong is named with its line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_ad.errors import DataError
from edge_ad.runtime.series import list_series, open_series
from edge_ad.runtime.series.readers import CHUNK_ROWS
from edge_ad.runtime.series.stamps import parse_stamp

ROWS = "time,a,b,label\n1000,1.5,2,0\n1001,,3,1\n1002,4,nan,0\n"


def write(folder: Path, text: str, name: str = "s.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def whole(path: Path, channels=None):
    chunks = list(open_series(path, channels).chunks())
    return (
        None if chunks[0].stamps is None else np.concatenate([c.stamps for c in chunks]),
        np.concatenate([c.values for c in chunks]),
        None if chunks[0].labels is None else np.concatenate([c.labels for c in chunks]),
    )


@pytest.mark.parametrize("name", ["s.csv", "s.csv.gz", "s.tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_time_labels_and_channels_are_told_apart(tmp_path: Path, name: str, delimiter: str) -> None:
    path = write(tmp_path, ROWS.replace(",", delimiter), name)
    series = open_series(path)
    assert series.channels == ("a", "b") and series.has_time and series.has_labels
    stamps, values, labels = whole(path)
    assert stamps.tolist() == [1000, 1001, 1002] and labels.tolist() == [False, True, False]
    np.testing.assert_array_equal(values, np.array([[1.5, 2], [np.nan, 3], [4, np.nan]], np.float32))


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import csv, parquet

    path = write(tmp_path, ROWS)
    parquet.write_table(csv.read_csv(path), tmp_path / "s.parquet")
    for a, b in zip(whole(path), whole(tmp_path / "s.parquet"), strict=True):
        np.testing.assert_array_equal(a, b)
    table = pyarrow.table({"a": ["x", "y"]})
    parquet.write_table(table, tmp_path / "text.parquet")
    with pytest.raises(DataError, match=r"text.parquet: row 1: column 'a' holds no numbers"):
        whole(tmp_path / "text.parquet")


OBJECTS = [
    {"time": 1000, "a": 1.5, "b": 2, "label": 0}, {"b": 3, "a": None, "time": "1970-01-01T00:16:41Z", "label": True},
    {"time": 1002, "a": 4, "b": float("nan"), "label": "0", "late": "not asked for"},
]  # fmt: skip


@pytest.mark.parametrize("name", ["s.ndjson", "s.jsonl", "s.ndjson.gz", "S.JSONL"])
def test_objects_give_what_csv_gives(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, "\n\n".join(map(json.dumps, OBJECTS)), name)
    series = open_series(path)
    assert series.channels == ("a", "b") and series.has_time and series.has_labels
    for a, b in zip(whole(path), whole(write(tmp_path, ROWS)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert whole(path, ["b"])[1][0].tolist() == [2.0]
    assert list_series(tmp_path) == sorted([path, tmp_path / "s.csv"])


def test_long_files_of_objects_come_in_pieces(tmp_path: Path) -> None:
    path = write(tmp_path, "".join(f'{{"a":{i}}}\n' for i in range(CHUNK_ROWS + 5)), "s.ndjson")
    chunks = list(open_series(path).chunks())
    assert [(len(c.values), c.line) for c in chunks] == [(CHUNK_ROWS, 1), (5, CHUNK_ROWS + 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":1}\n{"b":1}\n', r"s.jsonl: line 2: has no 'a'"),
        ('{"a":1}\n\n{"a":"1"}\n', r"s.jsonl: line 3: \"1\" under 'a' is no number"),
        ('{"a":1}\n{"a":1\n', r"s.jsonl: line 2: is no JSON"),
        ('{"a":1}\n[1]\n', r"s.jsonl: line 2: is no JSON object; write"),
        ('{"a":1,"ts":0}\n{"a":1,"ts":null}\n', r"s.jsonl: line 2: 'None' is no time"),
        ('{"a":1,"ts":0}\n{"a":1}\n', r"s.jsonl: line 2: has no 'ts'"),
        ('{"a":1,"label":2}\n', r"s.jsonl: line 1: the label '2' is neither 0 nor 1"),
        ('{"label":1}\n', r"s.jsonl: has no column of numbers"),
        ("a,b\n", r"s.jsonl: line 1: is no JSON"),
        ("", r"s.jsonl: is empty"),
        ('{"a":1}\n{"a":' + "1" * (1 << 20) + "}", r"s.jsonl: line 2: is longer than"),
    ],
)
def test_what_is_wrong_with_objects_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        whole(write(tmp_path, text, "s.jsonl"))


def test_npy_is_numbers_without_time(tmp_path: Path) -> None:
    for shape in ((9000,), (9000, 3)):
        values = np.random.default_rng(0).normal(size=shape)
        np.save(tmp_path / "s.npy", values)
        stamps, read, labels = whole(tmp_path / "s.npy")
        assert stamps is None and labels is None
        np.testing.assert_array_equal(read, values.reshape(9000, -1).astype(np.float32))


def test_a_headless_file_takes_the_names_that_are_wanted(tmp_path: Path) -> None:
    path = write(tmp_path, "1,2\n3,4\n")
    assert open_series(path).channels == ("c0", "c1")
    assert open_series(path, ["left", "right"]).channels == ("left", "right")


def test_channels_are_taken_by_name_whatever_their_order(tmp_path: Path) -> None:
    path = write(tmp_path, ROWS)
    assert whole(path, ["b", "a"])[1][0].tolist() == [2.0, 1.5]
    with pytest.raises(DataError, match="has no channel 'c', only a, b"):
        open_series(path, ["c"])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=1, max_size=30),
    st.sampled_from(",;\t"),
)
def test_numbers_survive_the_way_through_a_file(
    tmp_path: Path, rows: list[list[float]], delimiter: str
) -> None:
    text = delimiter.join("xyz") + "\n" + "".join(delimiter.join(map(repr, row)) + "\n" for row in rows)
    np.testing.assert_array_equal(whole(write(tmp_path, text))[1], np.array(rows, np.float32))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["s.csv", "s.csv.gz", "s.npy", "s.parquet", "s.ndjson"]))
def test_any_bytes_are_read_or_refused_by_name(tmp_path: Path, content: bytes, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(content)
    try:
        whole(path)
    except DataError as error:
        assert str(path) in str(error)
    except IndexError:
        pass  # `whole` itself, of a file that holds a header and no rows


def test_large_files_come_in_pieces(tmp_path: Path) -> None:
    n = 2 * CHUNK_ROWS + 5
    path = write(tmp_path, "a\n" + "".join(f"{i}\n" for i in range(n)))
    chunks = list(open_series(path).chunks())
    assert [len(c.values) for c in chunks] == [CHUNK_ROWS, CHUNK_ROWS, 5]
    assert [c.line for c in chunks] == [2, CHUNK_ROWS + 2, 2 * CHUNK_ROWS + 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n1,2,3\n", r"s.csv: line 3: has 3 columns, the first line has 2"),
        ("a,b\n1,2\n1,oops\n", r"s.csv: line 3: 'oops' in column 'b' is no number"),
        ("time,a\nnoon,2\n", r"s.csv: line 2: 'noon' is no time; write ISO 8601"),
        ("a,label\n1,0\n2,7\n", r"s.csv: line 3: the label '7' is neither 0 nor 1"),
        ("a,2\n1,0\n", r"s.csv: line 1: is half names and half numbers"),
        ("time,label\n1,0\n", r"s.csv: has no column of numbers"),
        ("", r"s.csv: is empty"),
        (",".join(f"c{i}x" for i in range(4097)) + "\n", r"s.csv: has 4097 channels, at most 4096"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        whole(write(tmp_path, text))


def test_a_folder_of_images_is_no_series(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="is a folder of images, no series"):
        open_series(tmp_path)
    with pytest.raises(DataError, match=r"is no series; known: \.csv"):
        open_series(tmp_path / "a.png")
    assert list_series(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1700000000", 1.7e9), ("1700000000.25", 1700000000.25), ("1700000000500", 1700000000.5),
        ("1700000000500000", 1700000000.5), ("1700000000500000000", 1700000000.5),
        ("2023-11-14T22:13:20Z", 1.7e9), ("2023-11-14 22:13:20", 1.7e9), ("2023-11-14T23:13:20+01:00", 1.7e9),
    ],
)  # fmt: skip
def test_points_in_time_as_files_write_them(text: str, seconds: float) -> None:
    assert parse_stamp(text) == seconds


@pytest.mark.parametrize("text", ["", "nan", "inf", "noon", "2023-13-01"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        parse_stamp(text)
