"""Sound as a series: WAV files of 16-bit PCM, one channel of numbers from -1 to 1 a track."""

from __future__ import annotations

import wave
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_ad.errors import DataError
from edge_ad.runtime.series.columns import CHUNK_ROWS, Chunk, SeriesFile, find_columns, numbered

UNIT = 2.0**-15  # of a sample
_CONVERT = "convert it, e.g. ffmpeg -i FILE -c:a pcm_s16le OUT.wav"


def open_wav(path: Path, wanted: Sequence[str] | None) -> SeriesFile:
    """A WAV file, by its header. Raises DataError for one that is damaged, empty, or no 16-bit PCM."""
    try:
        with wave.open(str(path), "rb") as file:
            tracks, width, rate, rows = (
                file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes(),
            )  # fmt: skip
    except (wave.Error, EOFError) as error:
        raise DataError(
            f"is no WAV file that can be read ({error or 'it ends too early'})", where=path, hint=_CONVERT
        ) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from error
    if width != 2:
        raise DataError(f"has samples of {8 * width} bits, 16 are needed", where=path, hint=_CONVERT)
    if rows == 0:
        raise DataError("holds no samples", where=path)
    columns = find_columns(numbered(tracks, wanted), path, wanted)
    opened = columns.series(path, lambda: _chunks(path, columns.channels))
    return replace(opened, rate_hz=float(rate), unit=UNIT, labelled_by_folder=True)


def _chunks(path: Path, tracks: list[int]) -> Iterator[Chunk]:
    row = 1
    try:
        with wave.open(str(path), "rb") as file:
            n = file.getnchannels()
            while raw := file.readframes(CHUNK_ROWS):
                if len(raw) % (2 * n):
                    raise DataError(
                        f"ends within row {row + len(raw) // (2 * n)}", where=path, hint="copy it again"
                    )
                samples = np.frombuffer(raw, "<i2").reshape(-1, n)[:, tracks]
                yield Chunk(None, samples * np.float32(UNIT), None, row)
                row += len(samples)
    except (wave.Error, EOFError, OSError) as error:
        raise DataError(f"cannot be read after row {row - 1} ({error})", where=path) from error
