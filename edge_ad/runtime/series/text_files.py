"""Reading series from text, CSV and NDJSON (one JSON object a line), also gzipped, a few thousand rows at a time."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from edge_ad.errors import DataError
from edge_ad.runtime.series.columns import (
    CHUNK_ROWS,
    Chunk,
    Columns,
    SeriesFile,
    find_columns,
    is_number,
    make_chunk,
    numbered,
    read_label,
    read_number,
    read_stamp,
)

MAX_LINE = 1 << 20
_UNREADABLE = (csv.Error, UnicodeDecodeError, OSError, EOFError, zlib.error)


class _Rows:
    """Rows as they are gathered for a chunk."""

    def __init__(self, columns: Columns):
        self._columns = columns
        self._begin()

    def _begin(self) -> None:
        self.values: list[list[float]] = []
        self.stamps: list[float] = []
        self.labels: list[bool] = []
        self.line = 0

    def take(self) -> Chunk:
        """What was gathered, and begin anew."""
        stamps = None if self._columns.time is None else self.stamps
        labels = None if self._columns.label is None else self.labels
        chunk = make_chunk(self.values, stamps, labels, self.line)
        self._begin()
        return chunk


def open_csv(path: Path, wanted: Sequence[str] | None) -> SeriesFile:
    """A CSV file, by its first line. Raises DataError."""
    first = _first_line(path)
    try:
        delimiter = max(",;\t", key=first.count)
        cells = next(csv.reader([first], delimiter=delimiter), [])
    except csv.Error as error:
        raise DataError(f"is no text that can be read ({error})", where=path) from error
    if not "".join(cells).strip():
        raise DataError("is empty, or begins with an empty line", where=path)
    header = not all(is_number(cell) for cell in cells)
    if header and any(is_number(cell) for cell in cells if cell.strip()):
        raise DataError("line 1: is half names and half numbers", where=path, hint="give every column a name")
    names = cells if header else numbered(len(cells), wanted)
    columns = find_columns(names, path, wanted)
    return columns.series(path, lambda: _csv_chunks(path, columns, delimiter, header))


def open_ndjson(path: Path, wanted: Sequence[str] | None) -> SeriesFile:
    """A file with a JSON object a line, by the keys of its first one. Raises DataError."""
    first = _first_line(path)
    if not first.strip():
        raise DataError("is empty, or begins with an empty line", where=path)
    columns = find_columns(list(read_object(first, path, 1)), path, wanted)
    return columns.series(path, lambda: _ndjson_chunks(path, columns))


def read_object(text: str, where: str | Path, line: int) -> dict[str, Any]:
    """A line's JSON object. Raises DataError that names the line."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"line {line}: is no JSON ({error})", where=where) from error
    if not isinstance(row, dict):
        raise DataError(
            f"line {line}: is no JSON object", where=where, hint='write {"time": …, "channel": …} a line'
        )
    return row


def read_member(row: dict[str, Any], key: str, where: str | Path, line: int) -> float:
    """A channel of a row, NaN where it is null. Raises DataError that names line and key."""
    try:
        value = row[key]
    except KeyError:
        raise DataError(f"line {line}: has no '{key}'", where=where) from None
    if value is None:
        return float("nan")
    if type(value) in (int, float):
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    raise DataError(f"line {line}: {json.dumps(value)[:40]} under '{key}' is no number", where=where)


def read_time(row: dict[str, Any], key: str, where: str | Path, line: int) -> float:
    """The time of a row, seconds since 1970. Raises DataError that names line and key."""
    if key not in row:
        raise DataError(f"line {line}: has no '{key}'", where=where)
    return read_stamp(str(row[key]), where, line)


def _csv_chunks(path: Path, columns: Columns, delimiter: str, header: bool) -> Iterator[Chunk]:
    rows = _Rows(columns)
    with _text(path) as file:
        reader = csv.reader(file, delimiter=delimiter)
        try:
            for cells in reader:
                line = reader.line_num
                if (header and line == 1) or not cells:
                    continue
                if len(cells) != len(columns.names):
                    raise DataError(
                        f"line {line}: has {len(cells)} columns, the first line has {len(columns.names)}",
                        where=path,
                    )
                rows.line = rows.line or line
                rows.values.append(
                    [read_number(cells[i], path, line, columns.names[i]) for i in columns.channels]
                )
                if columns.time is not None:
                    rows.stamps.append(read_stamp(cells[columns.time], path, line))
                if columns.label is not None:
                    rows.labels.append(read_label(cells[columns.label], path, line))
                if len(rows.values) == CHUNK_ROWS:
                    yield rows.take()
        except _UNREADABLE as error:
            raise DataError(f"cannot be read after line {reader.line_num} ({error})", where=path) from error
    if rows.values:
        yield rows.take()


def _ndjson_chunks(path: Path, columns: Columns) -> Iterator[Chunk]:
    rows, names, line = _Rows(columns), columns.names, 0
    with _text(path) as file:
        try:
            while text := file.readline(MAX_LINE):
                line += 1
                if not text.strip():
                    continue
                if len(text) == MAX_LINE:
                    raise DataError(f"line {line}: is longer than {MAX_LINE} characters", where=path)
                row = read_object(text, path, line)
                rows.line = rows.line or line
                rows.values.append([read_member(row, names[i], path, line) for i in columns.channels])
                if columns.time is not None:
                    rows.stamps.append(read_time(row, names[columns.time], path, line))
                if columns.label is not None:
                    rows.labels.append(read_label(str(row.get(names[columns.label])), path, line))
                if len(rows.values) == CHUNK_ROWS:
                    yield rows.take()
        except _UNREADABLE as error:
            raise DataError(f"cannot be read after line {line} ({error})", where=path) from error
    if rows.values:
        yield rows.take()


def _first_line(path: Path) -> str:
    try:
        with _text(path) as file:
            return file.readline(MAX_LINE)
    except _UNREADABLE as error:
        raise DataError(f"is no text that can be read ({error})", where=path) from error


def _text(path: Path) -> TextIO:
    try:
        if path.name.lower().endswith(".gz"):
            return io.TextIOWrapper(gzip.open(path), "utf-8-sig", newline="")
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from error
