"""Rows as text: lines of CSV, or one JSON object a line."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any, Literal

from edge_ad.errors import DataError
from edge_ad.runtime.series.columns import (
    Chunk,
    Columns,
    find_columns,
    is_number,
    make_chunk,
    read_number,
    read_stamp,
)
from edge_ad.runtime.series.text_files import read_member, read_object, read_time
from edge_ad.runtime.sources.rows.live import Piece

Format = Literal["csv", "ndjson"]
MOST_LINE_BYTES = 1 << 16


class Lines:
    """Cuts bytes, in pieces of any size, into lines. rest: what has no end yet."""

    def __init__(self) -> None:
        self.rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """The lines that these bytes complete, without their ends; None for one that is far too long."""
        *ended, rest = (self.rest + data).split(b"\n")
        lines: list[bytes | None] = [None if len(line) > MOST_LINE_BYTES else line for line in ended]
        if lines and self._skipping:
            lines[0] = None
            self._skipping = False
        if len(rest) > MOST_LINE_BYTES:
            self._skipping, rest = True, b""
        self.rest = rest
        return lines


class RowParser:
    """Reads rows from lines of text, and finds out from the first of them what stands where.

    CSV: commas, semicolons or tabs; a line of names says which column is what, at the beginning or later on. Without
    one, a line has as many numbers as there are channels, in their order, unless `columns` names them. NDJSON: the keys
    say what is what. Either may have a time (docs/series.md); all but time and channels is left aside.
    """

    def __init__(
        self, channels: Sequence[str] | None, n: int, *, where: str, format: Format | None = None,
        columns: Sequence[str] | None = None,
    ):  # fmt: skip
        """channels: names of the `n` channels in their order; None: any n, as they come. format: None: a line that
        begins with a brace is JSON. columns: names of all columns of CSV without a line of names. Raises DataError for
        columns without such channels."""
        self._wanted, self._n, self._where, self._format = channels, n, where, format
        self._csv: Columns | None = None
        self._keys: list[str] | None = None
        self._time_key: str | None = None
        self._delimiter: str | None = None
        if columns is not None:
            self._csv = self._found(columns)

    def parse(self, text: str, line: int) -> tuple[list[float], float | None] | None:
        """The numbers of a row, one a channel, and its time, seconds since 1970, if it says one; None for a line of
        names, or an empty one. Raises DataError, naming the line."""
        text = text.strip()
        if not text:
            return None
        if self._format == "ndjson" or (self._format is None and text.startswith("{")):
            return self.parse_object(read_object(text, self._where, line), line)
        return self._parse_csv(text, line)

    def parse_object(self, row: dict[str, Any], line: int) -> tuple[list[float], float | None]:
        """As `parse`, of a JSON object."""
        if self._keys is None:
            columns = self._found(list(row))
            self._keys = [columns.names[i] for i in columns.channels]
            self._time_key = None if columns.time is None else columns.names[columns.time]
        values = [read_member(row, key, self._where, line) for key in self._keys]
        stamp = None if self._time_key is None else read_time(row, self._time_key, self._where, line)
        return values, stamp

    def is_header(self, text: str) -> bool:
        """Whether a line holds nothing but names of channels and of the time: no part of a row can look so."""
        names = [cell.strip() for cell in self._cells(text.strip())]
        if any(map(is_number, names)):
            return False
        try:
            columns = self._found(names)
        except DataError:
            return False
        return len(columns.channels) + (columns.time is not None) + (columns.label is not None) == len(names)

    def _parse_csv(self, text: str, line: int) -> tuple[list[float], float | None] | None:
        cells = self._cells(text)
        if not is_number(cells[0]) and self._take_header(cells, line):
            return None
        columns = self._csv
        if columns is None:
            columns = self._csv = self._unnamed(cells, line)
        if len(cells) != len(columns.names):
            raise DataError(
                f"line {line}: has {len(cells)} columns, {len(columns.names)} are expected", where=self._where
            )
        if "_" in text:  # Python takes 1_0 for a number
            raise DataError(f"line {line}: '{text[:40]}' are no numbers", where=self._where)
        try:
            values = [float(cells[i]) for i in columns.channels]
        except ValueError:
            values = [read_number(cells[i], self._where, line, columns.names[i]) for i in columns.channels]
        stamp = None if columns.time is None else read_stamp(cells[columns.time], self._where, line)
        self._keep_delimiter(text)
        return values, stamp

    def _cells(self, text: str) -> list[str]:
        delimiter = self._delimiter or max(",;\t", key=text.count)
        if '"' not in text:
            return text.split(delimiter)
        try:
            return next(csv.reader([text], delimiter=delimiter), [])
        except csv.Error:
            return [text]

    def _keep_delimiter(self, text: str) -> None:
        if self._delimiter is None and any(text.count(d) for d in ",;\t"):
            self._delimiter = max(",;\t", key=text.count)

    def _take_header(self, cells: list[str], line: int) -> bool:
        """Whether these are names; they then say what stands where. Raises DataError for names of other channels."""
        filled = [cell for cell in cells if cell.strip()]
        if not filled or any(map(is_number, filled)):
            return False
        try:
            self._csv = self._found(cells)
        except DataError as error:
            raise DataError(f"line {line}: {error.what}", where=self._where, hint=error.hint) from error
        self._delimiter = None
        return True

    def _unnamed(self, cells: list[str], line: int) -> Columns:
        if len(cells) != self._n:
            raise DataError(
                f"line {line}: has {len(cells)} columns without names, {self._n} are expected",
                where=self._where, hint="send a line of names first, or name them: ?columns=time,a,b",
            )  # fmt: skip
        if not all(is_number(cell) for cell in cells if cell.strip()):
            raise DataError(f"line {line}: is neither names nor numbers", where=self._where)
        names = self._wanted or [f"c{i}" for i in range(self._n)]
        return find_columns(names, self._where, names)

    def _found(self, names: Sequence[str]) -> Columns:
        columns = find_columns(names, self._where, self._wanted)
        if len(columns.channels) != self._n:
            raise DataError(
                f"has {len(columns.channels)} channels, {self._n} are expected", where=self._where
            )
        return columns


class Gathering:
    """Rows of text, gathered into pieces as long as one follows on the other."""

    def __init__(self, parser: RowParser):
        self._parser = parser
        self._pieces: list[tuple[Chunk, str | None]] = []
        self._rows: list[list[float]] = []
        self._stamps: list[float] = []
        self._gap: str | None = None
        self._line = 0
        self._begun = False

    def add(self, text: str, line: int) -> bool:
        """Take a line; whether it is a row. Raises DataError, and then it is not taken."""
        row = self._parser.parse(text, line)
        if row is not None:
            self.add_row(*row, line)
        return row is not None

    def add_row(self, values: list[float], stamp: float | None, line: int) -> None:
        """Take a row."""
        if self._rows and (stamp is None) == bool(self._stamps):
            self._end()
        self._begun = True
        self._line = self._line or line
        self._rows.append(values)
        if stamp is not None:
            self._stamps.append(stamp)

    def miss(self, why: str) -> None:
        """Rows are missing before the next, if there was one before."""
        self._end()
        self._gap = why if self._begun else None

    def take(self, arrival: float) -> list[Piece]:
        """What was gathered since the last call. arrival: when it came, seconds since 1970."""
        self._end()
        pieces, self._pieces = self._pieces, []
        return [Piece(chunk, arrival, gap) for chunk, gap in pieces]

    def _end(self) -> None:
        if self._rows:
            chunk = make_chunk(self._rows, self._stamps or None, None, self._line)
            self._pieces.append((chunk, self._gap))
            self._rows, self._stamps, self._gap, self._line = [], [], None, 0
