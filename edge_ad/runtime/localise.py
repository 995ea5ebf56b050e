"""Where an anomaly is: from the network's small anomaly map to pixels of the source image, or to a sector of a scan.

EfficientAD's map has no output for `pad` cells at each border; it is padded with zeros and stretched over the
whole image (arXiv 2303.14535, Algorithm 2: the maps are padded and resized to the image).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import HeadSpec, InputSpec
from edge_ad.runtime.events import Where
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.scan_images import RANGE_IMAGE
from edge_ad.runtime.scorer import Scored

FloatMap = npt.NDArray[np.float32]
BoolMap = npt.NDArray[np.bool_]
Locate = Callable[[Sample, Scored, float], Where | None]


def locator(input: InputSpec, head: HeadSpec) -> Locate:
    """How a payload says where an anomaly is: a region of the image, a sector of the scan, a channel of the series."""
    pad = int(head.params.get("pad", 0))
    params = input.preprocess.params
    names = input.window.channels if input.window is not None else []

    def locate(sample: Sample, scored: Scored, threshold: float) -> Where | None:
        if scored.channels is not None and len(scored.channels) == len(names):
            return Where(channel=names[int(np.argmax(scored.channels))])
        if scored.map is None:
            return None
        if input.modality == "image":
            return region(scored.map, threshold, pad, sample.data.shape)
        if input.preprocess.name == RANGE_IMAGE:
            return sector(scored.map, tuple(params["elevation_deg"]))
        return None

    return locate


def sector(map_: FloatMap, elevation_deg: tuple[float, float]) -> Where:
    """The direction of a range image's (h, w) highest cell, as the sector that the cell covers."""
    row, column = (int(i) for i in np.unravel_index(int(np.argmax(map_)), map_.shape))
    low, high = elevation_deg
    height, width = (high - low) / map_.shape[0], 360 / map_.shape[1]
    left, top = column * width - 180, high - row * height
    return Where(
        azimuth_deg=(round(left, 2), round(left + width, 2)),
        elevation_deg=(round(top - height, 2), round(top, 2)),
    )


def region(map_: FloatMap, threshold: float, pad: int, image_shape: tuple[int, ...]) -> Where | None:
    """The connected region above `threshold` that holds the map's maximum, in pixels of the source image.

    map_: (h, w). pad: border cells on each side that the map lacks. image_shape: (H, W) or (H, W, C) of the
    image as acquired. Cells that touch by a corner are connected. None when no cell is above the threshold.
    """
    row, column = (int(i) for i in np.unravel_index(int(np.argmax(map_)), map_.shape))
    if not map_[row, column] > threshold:
        return None
    rows, columns = np.nonzero(_connected(map_ > threshold, row, column))
    height, width = (cells + 2 * pad for cells in map_.shape)
    top, bottom = _pixels(int(rows.min()), int(rows.max()), height, pad, image_shape[0])
    left, right = _pixels(int(columns.min()), int(columns.max()), width, pad, image_shape[1])
    return Where(
        box=(left, top, right - left, bottom - top),
        peak=(
            int((column + pad + 0.5) * image_shape[1] / width),
            int((row + pad + 0.5) * image_shape[0] / height),
        ),
    )


def upsample(map_: FloatMap, pad: int, size: tuple[int, int]) -> FloatMap:
    """Pad an (h, w) map with `pad` zero cells on each side and interpolate it bilinearly to `size` = (H, W).

    Samples lie at pixel centres (what other libraries call `align_corners=False`); float32.
    """
    padded = np.pad(map_.astype(np.float32, copy=False), pad)
    low, high, weight = _neighbours(padded.shape[0], size[0])
    rows = padded[low] * (1 - weight)[:, None] + padded[high] * weight[:, None]
    low, high, weight = _neighbours(padded.shape[1], size[1])
    return (rows[:, low] * (1 - weight) + rows[:, high] * weight).astype(np.float32, copy=False)


def _connected(mask: BoolMap, row: int, column: int) -> BoolMap:
    """Cells that an 8-connected path inside `mask` joins to (row, column): dilation until it stops."""
    reached = np.zeros(np.add(mask.shape, 2), np.bool_)
    reached[row + 1, column + 1] = True
    size = 0
    while (count := int(reached.sum())) != size:
        size = count
        wide = reached[:, :-2] | reached[:, 1:-1] | reached[:, 2:]
        reached[1:-1, 1:-1] = (wide[:-2] | wide[1:-1] | wide[2:]) & mask
    inner: BoolMap = reached[1:-1, 1:-1]
    return inner


def _pixels(first: int, last: int, cells: int, pad: int, extent: int) -> tuple[int, int]:
    """Half-open pixel range along one axis that holds the map's cells `first` to `last`."""
    start = (first + pad) * extent // cells
    stop = -(-(last + pad + 1) * extent // cells)
    return start, stop


def _neighbours(cells: int, extent: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatMap]:
    """For each of `extent` pixel centres: the two nearest cell centres and the weight of the second."""
    position = np.clip((np.arange(extent) + 0.5) * (cells / extent) - 0.5, 0, cells - 1)
    low = position.astype(np.int64)
    return low, np.minimum(low + 1, cells - 1), (position - low).astype(np.float32)
