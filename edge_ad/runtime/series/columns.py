"""What all readers of series share: chunks of rows, which column is what, and reading a cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.errors import DataError
from edge_ad.runtime.series.stamps import parse_stamp

TIME_COLUMNS = ("timestamp", "datetime", "time", "ts", "date")
LABEL_COLUMNS = ("label", "anomaly")
MAX_CHANNELS = 4096
CHUNK_ROWS = 4096

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Chunk:
    """Some rows of a series in a row.

    stamps: (n,) seconds since 1970, or None without a time column. values: (n, C), NaN where a cell is empty. labels:
    (n,) whether a row is marked as anomalous, or None without a label column. line: of the first row in its file (CSV
    and NDJSON, from 1), or its row number (from 1).
    """

    stamps: npt.NDArray[np.float64] | None
    values: Values
    labels: npt.NDArray[np.bool_] | None
    line: int


@dataclass(frozen=True)
class SeriesFile:
    """An opened series. channels: names of its columns of numbers, in order.

    rate_hz: rows a second, where the file says so itself. unit: the step between its values, where they are those of a
    converter. labelled_by_folder: its format has no place for labels.
    """

    path: Path
    channels: tuple[str, ...]
    has_time: bool
    has_labels: bool
    _read: Callable[[], Iterator[Chunk]]
    rate_hz: float | None = None
    unit: float | None = None
    labelled_by_folder: bool = False

    def chunks(self) -> Iterator[Chunk]:
        """Its rows from the first on, a few thousand at a time. Raises DataError that names file and line."""
        return self._read()


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are what: names of all of them, and the places of time, label and channels."""

    names: list[str]
    time: int | None
    label: int | None
    channels: list[int]

    def series(self, path: Path, read: Callable[[], Iterator[Chunk]]) -> SeriesFile:
        """A file of these columns."""
        names = tuple(self.names[i] for i in self.channels)
        return SeriesFile(path, names, self.time is not None, self.label is not None, read)


def find_columns(names: Sequence[str], where: str | Path, wanted: Sequence[str] | None) -> Columns:
    """Tell time, label and channels apart. wanted: names of the channels to take, in this order; None: all of them.

    Raises DataError for a table without such channels, without any, or with more than MAX_CHANNELS.
    """
    lower = [name.strip().lower() for name in names]
    time = next((lower.index(t) for t in TIME_COLUMNS if t in lower), None)
    label = next((lower.index(t) for t in LABEL_COLUMNS if t in lower), None)
    channels = [i for i in range(len(names)) if i not in (time, label)]
    names = [name.strip() for name in names]
    if wanted is not None:
        if missing := [w for w in wanted if w not in names]:
            held = ", ".join(names[i] for i in channels)
            raise DataError(
                f"has no channel '{missing[0]}', only {held}", where=where, hint="use the same sensors"
            )
        channels = [names.index(w) for w in wanted]
    if not channels:
        raise DataError("has no column of numbers", where=where)
    if len(channels) > MAX_CHANNELS:
        raise DataError(f"has {len(channels)} channels, at most {MAX_CHANNELS} can be taken", where=where)
    return Columns(names, time, label, channels)


def numbered(n: int, wanted: Sequence[str] | None) -> list[str]:
    """Names for columns that have none: those that are wanted, if there are as many, else c0, c1, …"""
    return list(wanted) if wanted is not None and len(wanted) == n else [f"c{i}" for i in range(n)]


def make_chunk(
    rows: Sequence[Sequence[float]],
    stamps: Sequence[float] | None,
    labels: Sequence[bool] | None,
    line: int,
) -> Chunk:
    """A chunk of rows of numbers; those beyond float32 become infinite."""
    with np.errstate(over="ignore"):
        values = np.array(rows, np.float32)
    return Chunk(
        None if stamps is None else np.array(stamps, np.float64),
        values,
        None if labels is None else np.array(labels, np.bool_),
        line,
    )


def is_number(cell: str) -> bool:
    """Whether a cell of text is one."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def read_number(cell: str, where: str | Path, line: int, name: str) -> float:
    """A cell of text, NaN where it is empty. Raises DataError that names line and column."""
    if not cell.strip():
        return float("nan")
    try:
        return float(cell)
    except ValueError as error:
        raise DataError(f"line {line}: '{cell[:40]}' in column '{name}' is no number", where=where) from error


def read_stamp(cell: str, where: str | Path, line: int) -> float:
    """Seconds since 1970. Raises DataError that names the line."""
    try:
        return parse_stamp(cell)
    except ValueError as error:
        raise DataError(
            f"line {line}: '{cell[:40]}' is no time", where=where,
            hint="write ISO 8601, or seconds or milliseconds since 1970",
        ) from error  # fmt: skip


def read_label(cell: str, where: str | Path, line: int) -> bool:
    """0 or 1. Raises DataError that names the line."""
    if cell.strip().lower() in ("0", "0.0", "false"):
        return False
    if cell.strip().lower() in ("1", "1.0", "true"):
        return True
    raise DataError(f"line {line}: the label '{cell[:40]}' is neither 0 nor 1", where=where)
