"""Pictures of what is anomalous."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.errors import DataError
from edge_ad.runtime.events import Where
from edge_ad.runtime.images import import_cv2

MIN_PX = 64


def crop_jpeg(
    image: npt.NDArray[np.uint8],
    where: Where | None,
    *,
    margin: float = 0.25,
    max_px: int = 640,
    quality: int = 85,
) -> bytes:
    """A JPEG of the box in `where`, with what is around it; of the whole image where there is no box.

    image: (H, W, 3) uint8 RGB. margin: on each side, as a share of the box. A side has at least 64 px, where the image
    has as many, and the longer one at most `max_px`, to which a larger picture is scaled down. Raises DataError for
    another image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise DataError(f"an image (H, W, 3) uint8 is expected, not {image.shape} {image.dtype}")
    cv2 = import_cv2()
    if where is not None and where.box is not None:
        x, y, width, height = where.box
        left, right = _span(x, width, image.shape[1], margin)
        top, bottom = _span(y, height, image.shape[0], margin)
        image = image[top:bottom, left:right]
    scale = max_px / max(image.shape[:2])
    if scale < 1:
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, jpeg = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise DataError("the picture cannot be encoded")
    return bytes(jpeg)


def _span(begin: int, extent: int, limit: int, margin: float) -> tuple[int, int]:
    """Along one axis: the box with its margin, at least MIN_PX, moved into the image."""
    wanted = min(limit, max(MIN_PX, round(extent * (1 + 2 * margin))))
    start = round(begin + extent / 2 - wanted / 2)
    start = min(max(0, start), limit - wanted)
    return start, start + wanted
