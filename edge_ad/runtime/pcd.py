"""The PCD format, version 0.7, as far as scans need it: fields x, y, z and perhaps intensity.

Point Cloud Library, "The PCD (Point Cloud Data) file format".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.errors import DataError

MAX_POINTS = 10_000_000
_KEYS = ("VERSION", "FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT", "POINTS", "DATA")
_TYPES = {"F": "f", "I": "i", "U": "u"}
_INTENSITY = ("intensity", "i", "reflectivity", "reflectance")  # names in use; the first that is there counts
_MAX_HEADER_BYTES = 4096


@dataclass(frozen=True)
class _Header:
    """dtype: of one point. columns: names of the fields wanted. points: how many. line: the data's first line."""

    dtype: np.dtype[np.void]
    columns: tuple[str, ...]
    points: int
    data: str
    offset: int
    line: int


def read_pcd(raw: bytes, path: Path) -> npt.NDArray[np.float64]:
    """Columns x, y, z and, where there is one, intensity of a PCD file's bytes: (N, 3) or (N, 4).

    Raises DataError for a header that is damaged, fields that lack x, y or z, and data that ends early.
    """
    header = _header(raw, path)
    if header.data == "ascii":
        return _ascii(raw, header, path)
    body = raw[header.offset :]
    if header.data == "binary_compressed":
        body = _by_points(_decompressed(body, header, path), header)
    wanted = header.points * header.dtype.itemsize
    if len(body) < wanted:
        raise _early(header, len(body) // header.dtype.itemsize, path)
    table = np.frombuffer(body, header.dtype, header.points)
    return np.stack([table[name].astype(np.float64) for name in header.columns], axis=1)


def _header(raw: bytes, path: Path) -> _Header:
    fields: dict[str, list[str]] = {}
    offset = 0
    for line, content in enumerate(raw[:_MAX_HEADER_BYTES].split(b"\n"), start=1):
        offset += len(content) + 1
        words = content.decode("ascii", "replace").split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] not in _KEYS:
            raise DataError(f"line {line}: is no line of a PCD header", where=path)
        fields[words[0]] = words[1:]
        if words[0] == "DATA":
            return _parsed(fields, offset, line + 1, path)
    raise DataError("its PCD header has no end (no DATA line)", where=path)


def _parsed(fields: dict[str, list[str]], offset: int, line: int, path: Path) -> _Header:
    try:
        names, sizes, types = fields["FIELDS"], fields["SIZE"], fields["TYPE"]
        counts = [int(n) for n in fields.get("COUNT", ["1"] * len(names))]
        points = int(fields["POINTS"][0]) if "POINTS" in fields else int(fields["WIDTH"][0]) * int(
            fields["HEIGHT"][0]
        )  # fmt: skip
        if not len(names) == len(sizes) == len(types) == len(counts) or points < 0 or min(counts) < 1:
            raise ValueError("FIELDS, SIZE, TYPE and COUNT do not fit together")
        dtype = np.dtype(
            [
                (name if name not in names[:i] else f"{name}.{i}", f"<{_TYPES[kind]}{int(size)}", (count,))
                if count > 1
                else (name if name not in names[:i] else f"{name}.{i}", f"<{_TYPES[kind]}{int(size)}")
                for i, (name, size, kind, count) in enumerate(zip(names, sizes, types, counts, strict=True))
            ]
        )
        data = fields["DATA"][0]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DataError(f"its PCD header cannot be read ({error})", where=path) from error
    if points > MAX_POINTS:
        raise DataError(f"holds more than {MAX_POINTS // 1_000_000} million points", where=path)
    if missing := [name for name in "xyz" if name not in names]:
        raise DataError(f"has no field {missing[0]}, only {', '.join(names)}", where=path)
    if data not in ("ascii", "binary", "binary_compressed"):
        raise DataError(
            f"its data is {data[:40]!r}", where=path, hint="known: ascii, binary, binary_compressed"
        )
    columns = ("x", "y", "z", *[name for name in _INTENSITY if name in names][:1])
    if wide := [name for name in columns if counts[names.index(name)] != 1]:
        raise DataError(f"field {wide[0]} has several values a point", where=path)
    return _Header(dtype, columns, points, data, offset, line)


def _ascii(raw: bytes, header: _Header, path: Path) -> npt.NDArray[np.float64]:
    assert header.dtype.names is not None
    lines = raw[header.offset :].decode("ascii", "replace").splitlines()
    if len(lines) < header.points:
        raise _early(header, len(lines), path)
    places = []
    place = 0
    for name in header.dtype.names:
        if name in header.columns:
            places.append((header.columns.index(name), place))
        place += int(np.prod(header.dtype[name].shape, dtype=int))
    values = np.empty((header.points, len(header.columns)))
    for row, text in enumerate(lines[: header.points]):
        words = text.split()
        if len(words) != place:
            raise DataError(
                f"line {header.line + row}: holds {len(words)} values where {place} are expected", where=path
            )
        try:
            for column, index in places:
                value = float(words[index])
                if not math.isfinite(value):
                    raise ValueError(f"{words[index]} is no finite number")
                values[row, column] = value
        except ValueError as error:
            raise DataError(f"line {header.line + row}: {error}", where=path) from error
    return values


def _decompressed(body: bytes, header: _Header, path: Path) -> bytes:
    """LZF: literal runs and back references (Marc Lehmann's format, as PCL stores it behind two uint32 sizes)."""
    if len(body) < 8:
        raise DataError("ends before its compressed data", where=path)
    packed, size = (int(n) for n in np.frombuffer(body, "<u4", 2))
    source = body[8 : 8 + packed]
    if len(source) < packed or size != header.points * header.dtype.itemsize:
        raise DataError(
            "its compressed data is truncated or of another size than its header says", where=path
        )
    out = bytearray()
    i = 0
    try:
        while i < packed:
            control = source[i]
            i += 1
            if control < 32:
                out += source[i : i + control + 1]
                i += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += source[i]
                i += 1
            start, length = len(out) - ((control & 31) << 8) - source[i] - 1, length + 2
            i += 1
            if start < 0 or len(out) + length > size:
                raise IndexError
            run = out[start : start + length]
            out += (run * -(-length // len(run)))[:length]  # a run may repeat what it has just written
    except IndexError as error:
        raise DataError("its compressed data is damaged", where=path) from error
    if len(out) != size:
        raise DataError("its compressed data is damaged", where=path)
    return bytes(out)


def _by_points(columns: bytes, header: _Header) -> bytes:
    """Compressed files hold one field after the other; make it one point after the other."""
    assert header.dtype.names is not None
    table = np.empty(header.points, header.dtype)
    place = 0
    for name in header.dtype.names:
        field = header.dtype[name]
        n = header.points * int(np.prod(field.shape, dtype=int))
        table[name] = np.frombuffer(columns, field.base, n, place).reshape(header.points, *field.shape)
        place += header.points * field.itemsize
    return table.tobytes()


def _early(header: _Header, found: int, path: Path) -> DataError:
    return DataError(f"ends after {found} of {header.points} points", where=path, hint="copy it again")
