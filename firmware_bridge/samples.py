"""SAMPLES frames: what a board measures, row by row (docs/link.md)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from edge_ad.errors import LinkError, UsageError

INDEX_MODULUS = 1 << 32

_HEAD = struct.Struct("<IBB")


class SampleFormat(IntEnum):
    """How a number of a row is written, little-endian."""

    INT16 = 0
    FLOAT32 = 1

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The same for NumPy."""
        return np.dtype("<i2" if self is SampleFormat.INT16 else "<f4")


@dataclass(frozen=True)
class SampleStream:
    """What a board said when it was told to send what it measures. rate_hz: rows a second, None where it does not say.
    next_index: number of the first row to come."""

    channels: int
    format: SampleFormat
    rate_hz: float | None
    next_index: int


def encode_samples(first: int, rows: npt.NDArray[np.generic]) -> bytes:
    """The payload of a SAMPLES frame. first: number of the first row, of which 32 bits are sent. rows: (n, channels),
    int16 or float32. Raises UsageError for others."""
    formats = {np.dtype(np.int16): SampleFormat.INT16, np.dtype(np.float32): SampleFormat.FLOAT32}
    if rows.ndim != 2 or not 1 <= rows.shape[1] <= 255 or rows.dtype not in formats:
        raise UsageError(
            f"rows (n, channels) of int16 or float32 are expected, not {rows.shape} {rows.dtype}"
        )
    form = formats[rows.dtype]
    head = _HEAD.pack(first % INDEX_MODULUS, rows.shape[1], form)
    return head + np.ascontiguousarray(rows, form.dtype).tobytes()


def parse_samples(payload: bytes, *, where: str | None = None) -> tuple[int, npt.NDArray[np.float32]]:
    """The number of the first row, and the rows (n, channels). Raises LinkError for what is no such payload."""
    if len(payload) < _HEAD.size:
        raise _nonsense(where)
    first, channels, number = _HEAD.unpack_from(payload)
    if channels == 0 or number not in tuple(SampleFormat):
        raise _nonsense(where)
    form = SampleFormat(number)
    if (len(payload) - _HEAD.size) % (channels * form.dtype.itemsize):
        raise _nonsense(where)
    values = np.frombuffer(payload, form.dtype, offset=_HEAD.size).reshape(-1, channels)
    return first, values.astype(np.float32)


def _nonsense(where: str | None) -> LinkError:
    return LinkError(
        "sends rows in no form that this version knows", where=where, hint="use firmware of this version"
    )
