"""Rows from a pipe: CSV and JSON are told apart, nothing is dropped, and what is wrong is named with its line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from row_sources import Reading, series_input, vector_input

from edge_ad.errors import DataError, EdgeAdError, SourceError
from edge_ad.runtime.sources.rows import open_rows
from edge_ad.runtime.sources.rows.text import Lines, RowParser

ROWS = "".join(f"{1000 + i / 10},{-i},{i}\n" for i in range(6))
OBJECTS = "".join(json.dumps({"time": 1000 + i / 10, "b": -i, "a": i, "unit": "mm"}) + "\n" for i in range(6))


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "rows.fifo"
    os.mkfifo(path)
    yield path


def write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def read_all(path: Path, content: str | bytes, query: str = "") -> Reading:
    reading = Reading(open_rows(f"rows:{path}{query}", series_input(), stall_s=1))
    write(path, content)
    return reading.wait()


@pytest.mark.parametrize(
    ("content", "query"),
    [
        ("time,b,a\n" + ROWS, ""),
        ("a;time;b\r\n" + "".join(f"{i};{1000 + i / 10};{-i}\r\n" for i in range(6)), ""),
        ("\ufefftime\tunit\tb\ta\n" + "".join(f"{1000 + i / 10}\tmm\t{-i}\t{i}\n" for i in range(6)), "?format=csv"),
        (ROWS, "?columns=time,b,a"),
        (OBJECTS, ""),
        ("\n" + OBJECTS.replace("\n", "\n\n"), "?format=ndjson"),
        (OBJECTS.rstrip("\n"), ""),
        ('"time","b","a"\n' + ROWS, ""),
    ],
)  # fmt: skip
def test_columns_are_taken_by_name(pipe: Path, content: str, query: str) -> None:
    reading = read_all(pipe, content, query)
    assert reading.error is None
    assert [s.data[:, 0].tolist() for s in reading.samples] == [[0, 1, 2, 3], [2, 3, 4, 5]]
    assert [s.data[:, 1].tolist() for s in reading.samples] == [[0, -1, -2, -3], [-2, -3, -4, -5]]
    assert [s.ts.timestamp() for s in reading.samples] == pytest.approx([1000.3, 1000.5])
    assert reading.names == ["row#3", "row#5"] and not reading.source.live


def test_bare_numbers_are_the_channels_in_their_order(pipe: Path) -> None:
    reading = read_all(pipe, "0,0\n1,-1\n2,-2\n3,-3\n")
    assert reading.samples[0].data.tolist() == [[0, 0], [1, -1], [2, -2], [3, -3]]


def test_vectors_take_any_names(pipe: Path) -> None:
    for content in ("x,y,z\n1,2,3\n4,5,6\n", "1,2,3\n4,5,6\n", '{"x":1,"y":2,"z":3}\n{"z":6,"y":5,"x":4}\n'):
        reading = Reading(open_rows(f"rows:{pipe}", vector_input(3), stall_s=1))
        write(pipe, content)
        assert [s.data.tolist() for s in reading.wait().samples] == [[1, 2, 3], [4, 5, 6]]


def test_an_empty_cell_is_a_gap(pipe: Path) -> None:
    reading = read_all(pipe, "0,0\n1,1\n2,\n3,3\n4,4\n5,5\n6,6\n")
    assert reading.names == ["row#6"] and reading.samples[0].gap and reading.source.unreadable == 1


def test_names_in_the_middle_begin_another_series(pipe: Path) -> None:
    reading = read_all(pipe, "a,b\n0,0\n1,1\n2,2\nb,a\n9,0\n9,1\n9,2\n9,3\n")
    assert [s.data.tolist() for s in reading.samples] == [[[0, 9], [1, 9], [2, 9], [3, 9]]]
    assert reading.samples[0].gap


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n1,2,3\n", "line 3: has 3 columns, 2 are expected"),
        ("a,b\n1,2\n1,oops\n", "line 3: 'oops' in column 'b' is no number"),
        ("a,b\n1,2\n1_0,2\n", "line 3: '1_0,2' are no numbers"),
        ("a,c\n1,2\n", "line 1: has no channel 'b', only a, c"),
        ("1,2,3\n", r"line 1: has 3 columns without names, 2 are expected; .*\?columns=time,a,b"),
        ("a,2\n", "line 1: is neither names nor numbers"),
        ("time,a,b\nnoon,1,2\n", "line 2: 'noon' is no time"),
        ('{"a":1,"b":2}\n{"a":1}\n', "line 2: has no 'b'"),
        ('{"a":1,"b":2}\n{"a":1,"b":"2"}\n', "line 2: \"2\" under 'b' is no number"),
        ('{"a":1,"b":2}\n{"a":1,"b":true}\n', "line 2: true under 'b' is no number"),
        ('{"a":1,"b":2}\n{"a":1,\n', "line 2: is no JSON"),
        ('{"a":1,"c":2}\n', "has no channel 'b', only a, c"),
        ('{"time":1,"a":1,"b":2}\n{"a":1,"b":2}\n', "line 2: has no 'time'"),
        (b"a,b\n1,\xff\n", "line 2: is no text"),
        ("time,a,b\n1,1,2\n1,1,2\n", "line 3: repeats the time stamp of the row before"),
        ("0" * 200_000 + "\n", "line 1: is far too long"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(pipe: Path, content: str | bytes, message: str) -> None:
    reading = read_all(pipe, content)
    assert isinstance(reading.error, DataError)
    with pytest.raises(DataError, match=message):
        raise reading.error
    assert str(pipe) in str(reading.error)


def test_a_line_that_was_cut_short_is_no_row(pipe: Path) -> None:
    reading = read_all(pipe, "0,0\n1,1\n2,2\n3,3\n4,4\n5,5")
    assert reading.names == ["row#3"] and reading.source.unreadable == 1 and reading.error is None


def test_whoever_writes_is_held_back_and_nothing_is_dropped(pipe: Path) -> None:
    source = open_rows(f"rows:{pipe}", series_input(length=1, hop=1, rate_hz=None), stall_s=1)
    writer = os.open(pipe, os.O_WRONLY)  # the source has opened it: this does not wait
    n = 30_000
    samples = iter(source)
    text = "".join(f"{i},0\n" for i in range(n)).encode()
    assert len(text) > 2 * (1 << 16)
    os.set_blocking(writer, False)
    sent = os.write(writer, text)
    assert sent < len(text)
    with pytest.raises(BlockingIOError):
        os.write(writer, text[sent:])
    found = []
    while sent < len(text):
        found.append(next(samples))
        try:
            sent += os.write(writer, text[sent:])
        except BlockingIOError:
            continue
    os.close(writer)
    found += samples
    assert [int(s.data[0, 0]) for s in found] == list(range(n)) and source.dropped == 0


def test_a_pipe_that_nobody_writes_to_can_be_closed(pipe: Path) -> None:
    reading = Reading(open_rows(f"rows:{pipe}", series_input(), stall_s=0.01)).close()
    assert reading.error is None and not reading.samples


def test_a_pipe_can_be_closed_before_it_is_read(pipe: Path) -> None:
    source = open_rows(f"rows:{pipe}", series_input(), stall_s=1)
    source.close()
    assert list(source) == []


PROGRAM = """
import sys
from row_sources import series_input
from edge_ad.runtime.sources.rows import open_rows
for sample in open_rows(sys.argv[1], series_input(), stall_s=1):
    print(sample.name, sample.data[:, 0].tolist(), flush=True)
"""


@pytest.mark.parametrize("url", ["-", "stdin:", "-?format=csv"])
def test_standard_input_is_read_as_it_comes_up_to_its_end(url: str) -> None:
    support = Path(__file__).resolve().parents[2] / "support"
    paths = os.pathsep.join([str(support), str(support.parents[1]), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths}, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("b,a\n0,0\n-1,1\n-2,2\n-3,3\n")
        process.stdin.flush()
        assert process.stdout.readline() == "row#3 [0.0, 1.0, 2.0, 3.0]\n"  # before the pipe has ended
        process.stdin.write("-4,4\n-5,5\n")
        process.stdin.close()
        assert process.stdout.read() == "row#5 [2.0, 3.0, 4.0, 5.0]\n"
        assert process.wait(30) == 0


def test_a_closed_standard_input_is_said(tmp_path: Path) -> None:
    from edge_ad.runtime.sources.rows.streams import open_stdin

    file = os.open(tmp_path, os.O_RDONLY)
    os.close(file)
    with pytest.raises(SourceError, match="stdin: is closed; pipe rows into it"):
        open_stdin(["a"], 1, file=file)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text('ab,;\n\r"{}:1.', max_size=20)), st.lists(st.integers(1, 9)))
def test_lines_do_not_depend_on_how_bytes_arrive(texts: list[str], sizes: list[int]) -> None:
    content, lines, found = "\n".join(texts).encode(), Lines(), []
    for size in [*sizes, len(content)]:
        found += lines.feed(content[:size])
        content = content[size:]
    assert [*found, lines.rest] == "\n".join(texts).encode().split(b"\n")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=5))
def test_any_text_is_rows_or_refused_in_one_line(texts: list[str]) -> None:
    parser = RowParser(["a", "b"], 2, where="x")
    for i, text in enumerate(texts):
        try:
            row = parser.parse(text, i + 1)
        except EdgeAdError as error:
            assert "\n" not in str(error)
        else:
            assert row is None or len(row[0]) == 2
