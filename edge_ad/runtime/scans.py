"""Reading LiDAR scans: KITTI .bin, PCD and .npy, the same for fitting, calibration and the device."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.errors import DataError
from edge_ad.runtime.pcd import MAX_POINTS, read_pcd

Points = npt.NDArray[np.float32]

EXTENSIONS = (".bin", ".bin.gz", ".pcd", ".npy")
MAX_COORDINATE_M = 10_000.0  # no LiDAR reaches so far: such values are of another layout or byte order
_POINT_BYTES = 16


def list_scans(folder: Path) -> list[Path]:
    """Scan files below `folder`, sorted by path."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name.lower().endswith(EXTENSIONS))


def read_scan(path: str | Path) -> Points:
    """Read one scan: (N, 4) float32 of x, y, z in metres and the intensity, N > 0, in the file's order.

    .bin, .bin.gz: little-endian float32 x, y, z, intensity (KITTI). .pcd: fields x, y, z and perhaps intensity, stored
    as ascii, binary or binary_compressed. .npy: (N, 4), or (N, 3) without intensity, which then is zero. Raises
    DataError for a file that is missing, truncated, of another layout, without points, or with a value that is not
    finite or beyond 10 km; it names the file and the point, for ascii the line.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as packed:
                raw = packed.read(MAX_POINTS * _POINT_BYTES + 1)  # more is refused, not unpacked
    except (OSError, EOFError, zlib.error) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"cannot be read ({cause})", where=path) from error
    name = path.name.lower()
    reader: Callable[[bytes, Path], Points] | None = next(
        (read for ending, read in _READERS.items() if name.endswith(ending)), None
    )
    if reader is None:
        raise DataError("is no scan", where=path, hint=f"known: {', '.join(EXTENSIONS)}")
    return echoes(checked(reader(raw, path), where=path), where=path)


def checked(points: Points, *, where: str | Path | None = None) -> Points:
    """`points` (N, 4) as they are, if they can be a scan's. Raises DataError as `read_scan` does."""
    if points.ndim != 2 or points.shape[1] != 4 or points.dtype != np.float32:
        raise DataError(
            f"points of shape (N, 4) float32 are expected, not {points.shape} {points.dtype}", where=where
        )
    if len(points) == 0:
        raise DataError("holds no points", where=where, hint="remove it, or check the sensor")
    if len(points) > MAX_POINTS:
        raise _too_many(where)
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        raise DataError(
            f"{int((~finite).sum())} of {len(points)} points are not finite, the first is point {first + 1}",
            where=where,
            hint="drop returns without an echo when the scan is recorded",
        )
    far = np.abs(points[:, :3]).max(axis=1) > MAX_COORDINATE_M
    if far.any():
        first = int(np.argmax(far))
        raise DataError(
            f"point {first + 1} lies beyond {MAX_COORDINATE_M / 1000:g} km",
            where=where,
            hint="check its layout: float32 x, y, z in metres and intensity, four values a point",
        )
    return points


def echoes(points: Points, *, where: str | Path | None = None) -> Points:
    """`points` (N, 4) without those at the very origin. Raises DataError when none are left."""
    seen = (points[:, :3] != 0).any(axis=1)
    if seen.all():
        return points
    if not seen.any():
        raise DataError("holds no echoes, only points at the origin", where=where, hint="check the sensor")
    return np.ascontiguousarray(points[seen])


def _read_bin(raw: bytes, path: Path) -> Points:
    if len(raw) > MAX_POINTS * _POINT_BYTES:
        raise _too_many(path)
    if len(raw) % _POINT_BYTES:
        five = " (it is one of 20: a scan with five values a point?)" if len(raw) % 20 == 0 else ""
        raise DataError(
            f"its {len(raw)} bytes are no multiple of {_POINT_BYTES}{five}",
            where=path,
            hint="float32 x, y, z, intensity are expected, four values a point",
        )
    return np.frombuffer(raw, "<f4").astype(np.float32, copy=False).reshape(-1, 4)


def _too_many(where: str | Path | None) -> DataError:
    return DataError(f"holds more than {MAX_POINTS // 1_000_000} million points", where=where)


def _read_npy(raw: bytes, path: Path) -> Points:
    try:
        array = np.load(io.BytesIO(raw), allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise DataError(f"is no .npy that can be read ({error})", where=path) from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] not in (3, 4):
        found = array.shape if isinstance(array, np.ndarray) else "an archive"
        raise DataError(f"holds {found}", where=path, hint="points (N, 4) or (N, 3) are expected")
    if array.dtype.kind not in "fiu":
        raise DataError(f"holds {array.dtype}, not numbers", where=path)
    return _with_intensity(array)


def _with_intensity(array: npt.NDArray[np.generic]) -> Points:
    points = np.zeros((len(array), 4), np.float32)
    with np.errstate(over="ignore"):  # becomes infinite, which `checked` names
        points[:, : array.shape[1]] = array
    return points


def _read_pcd(raw: bytes, path: Path) -> Points:
    return _with_intensity(read_pcd(raw, path))


_READERS: dict[str, Callable[[bytes, Path], Points]] = {
    ".bin": _read_bin,
    ".bin.gz": _read_bin,
    ".npy": _read_npy,
    ".pcd": _read_pcd,
}
