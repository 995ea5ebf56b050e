"""Reading image files: one decoder for fitting, calibration and the device."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.errors import DataError, MissingDependencyError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MAX_PIXELS = 100_000_000  # a larger picture is refused before it fills a device's memory
MIN_SIDE_PX = 8

UInt8Image = npt.NDArray[np.uint8]


def import_cv2() -> Any:
    """OpenCV, with its own limit on image size set to ours. Raises MissingDependencyError."""
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError(
            "reading images and cameras needs OpenCV", hint="pip install 'edge-ad[camera]'"
        ) from error
    return cv2


def list_images(folder: Path) -> list[Path]:
    """Image files below `folder`, sorted by path."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())


def read_image(path: str | Path) -> UInt8Image:
    """Decode one file to (H, W, 3) uint8 RGB.

    Grey becomes three equal channels; an alpha channel is ignored; EXIF orientation is applied. Raises
    DataError for a file that is missing, no image, truncated, not 8 bits a channel, or larger than MAX_PIXELS.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from error
    return decode_image(raw, where=path)


def decode_image(raw: bytes, *, where: str | Path) -> UInt8Image:
    """As `read_image`, from the file's bytes; `where` names them in errors."""
    if _is_truncated(raw):
        raise DataError("the image is truncated", where=where, hint="copy it again or remove it")
    cv2 = import_cv2()
    try:
        image = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        if "MAX_IMAGE" in str(error) or "pixels" in str(error).lower():
            raise _too_large(where) from error
        raise DataError("cannot be decoded as an image", where=where, hint="remove or replace it") from error
    if image is None:
        raise DataError(
            "is no image that can be decoded", where=where, hint=f"known: {', '.join(EXTENSIONS)}"
        )
    if image.dtype != np.uint8:
        bits = image.dtype.itemsize * 8
        raise DataError(
            f"has {bits} bits a channel, 8 are expected",
            where=where,
            hint="convert it to 8 bits with a fixed scale, the same one that the device's camera will use",
        )
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        raise _too_large(where)
    if min(image.shape[:2]) < MIN_SIDE_PX:
        raise DataError(f"is only {image.shape[1]} x {image.shape[0]} px", where=where, hint="remove it")
    rgb: UInt8Image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return rgb


def _too_large(where: str | Path) -> DataError:
    return DataError(
        f"has more than {MAX_PIXELS // 1_000_000} million pixels",
        where=where,
        hint="crop or scale it down first",
    )


def _is_truncated(raw: bytes) -> bool:
    """Whether a JPEG or PNG ends before its end marker: decoders fill the rest with grey and say nothing."""
    if not raw:
        return True
    if raw.startswith(b"\xff\xd8"):
        # A thumbnail's end marker lies before the picture's own scan, hence the search after the last scan.
        return raw.rfind(b"\xff\xd9") <= raw.rfind(b"\xff\xda")
    if raw.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND" not in raw[-4096:]
    return False
