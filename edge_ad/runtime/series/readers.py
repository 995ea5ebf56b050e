"""Reading series from CSV, NDJSON, Parquet, NPY and WAV files, in chunks: never a whole file in memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.bundle.manifest import WindowSpec
from edge_ad.errors import DataError, MissingDependencyError
from edge_ad.runtime.images import list_images
from edge_ad.runtime.series.columns import (
    CHUNK_ROWS,
    MAX_CHANNELS,
    Chunk,
    Columns,
    SeriesFile,
    Values,
    find_columns,
    numbered,
    read_label,
    read_stamp,
)
from edge_ad.runtime.series.text_files import open_csv, open_ndjson
from edge_ad.runtime.series.wave_files import open_wav

__all__ = [
    "CHUNK_ROWS",
    "EXTENSIONS",
    "MAX_CHANNELS",
    "Chunk",
    "SeriesFile",
    "Values",
    "list_series",
    "open_series",
    "open_windowed",
]

_CSV = (".csv", ".csv.gz", ".tsv")
_NDJSON = (".ndjson", ".ndjson.gz", ".jsonl", ".jsonl.gz")
EXTENSIONS = (*_CSV, *_NDJSON, ".parquet", ".npy", ".wav")
_SAME_RATE = 1e-3  # relative, of a rate that a file states


def list_series(folder: Path) -> list[Path]:
    """Series files below `folder`, sorted by path."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name.lower().endswith(EXTENSIONS))


def open_series(path: Path, channels: Sequence[str] | None = None) -> SeriesFile:
    """Open one file: what its columns are.

    CSV (also gzipped; commas, semicolons or tabs; a header line unless all of it is numbers), NDJSON (also gzipped;
    one object a line, its keys are the columns), Parquet (needs pyarrow), .npy, (T,) or (T, C), and WAV (16-bit PCM,
    values from -1 to 1, channels c0, c1, …). A column called
    timestamp, datetime, time, ts or date holds the time (ISO 8601, or seconds or milliseconds since 1970), one called
    label or anomaly holds 0 or 1, all others are channels. channels: names of those to take, in this order; all of them
    by default. Raises DataError for a file that cannot be read, that has no such channels, or more than
    MAX_CHANNELS.
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
    if name.endswith(".wav"):
        return open_wav(path, channels)
    if name.endswith(_CSV):
        return open_csv(path, channels)
    if name.endswith(_NDJSON):
        return open_ndjson(path, channels)
    raise DataError("is no series", where=path, hint=f"known: {', '.join(EXTENSIONS)}")


def open_windowed(path: Path, window: WindowSpec) -> SeriesFile:
    """`open_series` for a detector's windows. Raises DataError also for a file that states another rate."""
    series = open_series(path, window.channels)
    stated, wanted = series.rate_hz, window.rate_hz
    if stated is not None and wanted is not None and abs(stated - wanted) > _SAME_RATE * wanted:
        raise DataError(
            f"has {stated:g} samples a second, the detector was fitted at {wanted:g}", where=path,
            hint=f"resample it, e.g. ffmpeg -i FILE -ar {wanted:g} OUT.wav",
        )  # fmt: skip
    return series


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
    columns = find_columns(numbered(table.shape[1], wanted), path, wanted)

    def read() -> Iterator[Chunk]:
        for begin in range(0, len(table), CHUNK_ROWS):
            values = np.array(table[begin : begin + CHUNK_ROWS, columns.channels], np.float32)
            yield Chunk(None, values, None, begin + 1)

    unit = 1.0 if array.dtype == np.int16 else None
    return replace(columns.series(path, read), unit=unit, labelled_by_folder=True)


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
    columns = find_columns(names, path, wanted)

    def read() -> Iterator[Chunk]:
        line = 1
        try:
            for batch in parquet.ParquetFile(path).iter_batches(batch_size=CHUNK_ROWS):
                yield _arrow_chunk(batch, columns, path, line)
                line += batch.num_rows
        except (ArrowException, OSError) as error:
            raise DataError(f"cannot be read after row {line - 1} ({error})", where=path) from error

    return columns.series(path, read)


def _arrow_chunk(batch: Any, columns: Columns, path: Path, line: int) -> Chunk:
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
        stamps = np.array(
            [read_stamp(str(value), path, line + i) for i, value in enumerate(held)], np.float64
        )
    if columns.label is not None:
        held = batch.column(columns.label).to_pylist()
        labels = np.array([read_label(str(value), path, line + i) for i, value in enumerate(held)], np.bool_)
    return Chunk(stamps, values, labels, line)
