"""Reading series from CSV, Parquet and NPY files, in chunks: never a whole file in memory."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from edge_ad.errors import DataError, MissingDependencyError
from edge_ad.runtime.images import list_images
from edge_ad.runtime.series.stamps import parse_stamp

EXTENSIONS = (".csv", ".csv.gz", ".tsv", ".parquet", ".npy")
TIME_COLUMNS = ("timestamp", "datetime", "time", "ts", "date")
LABEL_COLUMNS = ("label", "anomaly")
MAX_CHANNELS = 64
CHUNK_ROWS = 4096

_MAX_LINE = 1 << 20
_UNREADABLE = (csv.Error, UnicodeDecodeError, OSError, EOFError, zlib.error)

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Chunk:
    """Some rows of a series in a row.

    stamps: (n,) seconds since 1970, or None without a time column. values: (n, C), NaN where a cell is empty. labels:
    (n,) whether a row is marked as anomalous, or None without a label column. line: of the first row in its file (CSV,
    from 1), or its row number (from 1).
    """

    stamps: npt.NDArray[np.float64] | None
    values: Values
    labels: npt.NDArray[np.bool_] | None
    line: int


@dataclass(frozen=True)
class SeriesFile:
    """An opened series. channels: names of its columns of numbers, in order."""

    path: Path
    channels: tuple[str, ...]
    has_time: bool
    has_labels: bool
    _read: Callable[[], Iterator[Chunk]]

    def chunks(self) -> Iterator[Chunk]:
        """Its rows from the first on, a few thousand at a time. Raises DataError that names file and line."""
        return self._read()


@dataclass(frozen=True)
class _Columns:
    """Which columns of a table are what."""

    names: list[str]
    time: int | None
    label: int | None
    channels: list[int]

    def series(self, path: Path, read: Callable[[], Iterator[Chunk]]) -> SeriesFile:
        names = tuple(self.names[i] for i in self.channels)
        return SeriesFile(path, names, self.time is not None, self.label is not None, read)


def list_series(folder: Path) -> list[Path]:
    """Series files below `folder`, sorted by path."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name.lower().endswith(EXTENSIONS))


def open_series(path: Path, channels: Sequence[str] | None = None) -> SeriesFile:
    """Open one file: what its columns are.

    CSV (also gzipped; commas, semicolons or tabs; a header line unless all of it is numbers), Parquet (needs pyarrow)
    and .npy, (T,) or (T, C). A column called timestamp, datetime, time, ts or date holds the time (ISO 8601, or seconds
    or milliseconds since 1970), one called label or anomaly holds 0 or 1, all others are channels. channels: names of
    those to take, in this order; all of them by default. Raises DataError for a file that cannot be read, that has no
    such channels, or more than 64.
    """
    if not path.is_file():
        images = path.is_dir() and list_images(path)
        held = "is a folder of images, no series" if images else "there is no such file"
        raise DataError(held, where=path, hint=f"known: {', '.join(EXTENSIONS)}")
    name = path.name.lower()
    if name.endswith(".npy"):
        return _open_npy(path, channels)
    if name.endswith(".parquet"):
        return _open_parquet(path, channels)
    if name.endswith((".csv", ".csv.gz", ".tsv")):
        return _open_csv(path, channels)
    raise DataError("is no series", where=path, hint=f"known: {', '.join(EXTENSIONS)}")


def _columns(names: list[str], path: Path, wanted: Sequence[str] | None) -> _Columns:
    lower = [name.strip().lower() for name in names]
    time = next((lower.index(t) for t in TIME_COLUMNS if t in lower), None)
    label = next((lower.index(t) for t in LABEL_COLUMNS if t in lower), None)
    channels = [i for i in range(len(names)) if i not in (time, label)]
    names = [name.strip() for name in names]
    if wanted is not None:
        if missing := [w for w in wanted if w not in names]:
            held = ", ".join(names[i] for i in channels)
            raise DataError(
                f"has no channel '{missing[0]}', only {held}", where=path, hint="use the same sensors"
            )
        channels = [names.index(w) for w in wanted]
    if not channels:
        raise DataError("has no column of numbers", where=path)
    if len(channels) > MAX_CHANNELS:
        raise DataError(f"has {len(channels)} channels, at most {MAX_CHANNELS} can be taken", where=path)
    return _Columns(names, time, label, channels)


def _open_csv(path: Path, wanted: Sequence[str] | None) -> SeriesFile:
    try:
        with _text(path) as file:
            first = file.readline(_MAX_LINE)
        delimiter = max(",;\t", key=first.count)
        cells = next(csv.reader([first], delimiter=delimiter), [])
    except _UNREADABLE as error:
        raise DataError(f"is no text that can be read ({error})", where=path) from error
    if not "".join(cells).strip():
        raise DataError("is empty, or begins with an empty line", where=path)
    header = not all(_is_number(cell) for cell in cells)
    if header and any(_is_number(cell) for cell in cells if cell.strip()):
        raise DataError("line 1: is half names and half numbers", where=path, hint="give every column a name")
    names = cells if header else _numbered(len(cells), wanted)
    columns = _columns(names, path, wanted)
    return columns.series(path, lambda: _csv_chunks(path, columns, delimiter, header))


def _csv_chunks(path: Path, columns: _Columns, delimiter: str, header: bool) -> Iterator[Chunk]:
    rows: list[list[float]] = []
    stamps: list[float] = []
    labels: list[bool] = []
    begun = 0
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
                begun = begun or line
                rows.append([_number(cells[i], path, line, columns.names[i]) for i in columns.channels])
                if columns.time is not None:
                    stamps.append(_stamp(cells[columns.time], path, line))
                if columns.label is not None:
                    labels.append(_label(cells[columns.label], path, line))
                if len(rows) == CHUNK_ROWS:
                    yield _chunk(rows, stamps, labels, columns, begun)
                    rows, stamps, labels, begun = [], [], [], 0
        except _UNREADABLE as error:
            raise DataError(f"cannot be read after line {reader.line_num} ({error})", where=path) from error
    if rows:
        yield _chunk(rows, stamps, labels, columns, begun)


def _chunk(
    rows: list[list[float]], stamps: list[float], labels: list[bool], columns: _Columns, line: int
) -> Chunk:
    return Chunk(
        np.array(stamps, np.float64) if columns.time is not None else None,
        np.array(rows, np.float32),
        np.array(labels, np.bool_) if columns.label is not None else None,
        line,
    )


def _open_npy(path: Path, wanted: Sequence[str] | None) -> SeriesFile:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"is no .npy that can be read ({error})", where=path) from error
    if not isinstance(array, np.ndarray) or array.ndim not in (1, 2) or array.dtype.kind not in "fiu":
        found = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else "an archive"
        raise DataError(
            f"holds {found}", where=path, hint="numbers of shape (rows,) or (rows, channels) are expected"
        )
    table = array[:, None] if array.ndim == 1 else array
    columns = _columns(_numbered(table.shape[1], wanted), path, wanted)

    def read() -> Iterator[Chunk]:
        for begin in range(0, len(table), CHUNK_ROWS):
            yield Chunk(None, np.array(table[begin : begin + CHUNK_ROWS], np.float32), None, begin + 1)

    return columns.series(path, read)


def _open_parquet(path: Path, wanted: Sequence[str] | None) -> SeriesFile:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingDependencyError(
            "reading Parquet needs pyarrow", hint="pip install 'edge-ad[series]'"
        ) from error
    try:
        names = list(parquet.ParquetFile(path).schema_arrow.names)
    except (ArrowException, OSError) as error:
        raise DataError(f"is no Parquet file that can be read ({error})", where=path) from error
    columns = _columns(names, path, wanted)

    def read() -> Iterator[Chunk]:
        line = 1
        try:
            for batch in parquet.ParquetFile(path).iter_batches(batch_size=CHUNK_ROWS):
                yield _arrow_chunk(batch, columns, path, line)
                line += batch.num_rows
        except (ArrowException, OSError) as error:
            raise DataError(f"cannot be read after row {line - 1} ({error})", where=path) from error

    return columns.series(path, read)


def _arrow_chunk(batch: Any, columns: _Columns, path: Path, line: int) -> Chunk:
    values = np.empty((batch.num_rows, len(columns.channels)), np.float32)
    for place, index in enumerate(columns.channels):
        try:
            values[:, place] = batch.column(index).to_numpy(zero_copy_only=False).astype(np.float64)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"row {line}: column '{columns.names[index]}' holds no numbers ({error})", where=path
            ) from error
    stamps = labels = None
    if columns.time is not None:
        held = batch.column(columns.time).to_pylist()
        stamps = np.array([_stamp(str(value), path, line + i) for i, value in enumerate(held)], np.float64)
    if columns.label is not None:
        held = batch.column(columns.label).to_pylist()
        labels = np.array([_label(str(value), path, line + i) for i, value in enumerate(held)], np.bool_)
    return Chunk(stamps, values, labels, line)


def _numbered(n: int, wanted: Sequence[str] | None) -> list[str]:
    """Names for columns that have none: those that are wanted, if there are as many, else c0, c1, …"""
    return list(wanted) if wanted is not None and len(wanted) == n else [f"c{i}" for i in range(n)]


def _text(path: Path) -> TextIO:
    try:
        if path.name.lower().endswith(".gz"):
            return io.TextIOWrapper(gzip.open(path), "utf-8-sig", newline="")
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: str, path: Path, line: int, name: str) -> float:
    if not cell.strip():
        return float("nan")
    try:
        return float(cell)
    except ValueError as error:
        raise DataError(f"line {line}: '{cell[:40]}' in column '{name}' is no number", where=path) from error


def _stamp(cell: str, path: Path, line: int) -> float:
    try:
        return parse_stamp(cell)
    except ValueError as error:
        raise DataError(
            f"line {line}: '{cell[:40]}' is no time", where=path,
            hint="write ISO 8601, or seconds or milliseconds since 1970",
        ) from error  # fmt: skip


def _label(cell: str, path: Path, line: int) -> bool:
    if cell.strip().lower() in ("0", "0.0", "false"):
        return False
    if cell.strip().lower() in ("1", "1.0", "true"):
        return True
    raise DataError(f"line {line}: the label '{cell[:40]}' is neither 0 nor 1", where=path)
