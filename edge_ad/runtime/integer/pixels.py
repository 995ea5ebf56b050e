"""Images as networks take them, in integers: uint8 (channels, height, width) to (height, width, channels)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.integer.arithmetic import Int64


def block_sums(image: npt.NDArray[np.uint8], block: int) -> Int64:
    """(channels, height / block, width / block): the sum of each block of block x block pixels."""
    c, h, w = image.shape
    blocks = image.astype(np.int64).reshape(c, h // block, block, w // block, block)
    return np.asarray(blocks.sum((2, 4)))


def pixels(
    image: npt.NDArray[np.uint8], block: int = 1, mask: npt.NDArray[np.uint8] | None = None, cell: int = 1
) -> Int64:
    """(height, width, channels), 0 to 255: each block's mean, half up, where `mask` (height / cell, width / cell) is
    not 0, everywhere without one; elsewhere the pixels themselves. block: a power of two."""
    wide = image.astype(np.int64)
    means = (block_sums(image, block) + block * block // 2) // (block * block)
    shown = np.repeat(np.repeat(means, block, 1), block, 2)
    if mask is not None:
        hidden = np.repeat(np.repeat(mask != 0, cell, 0), cell, 1)
        shown = np.where(hidden, shown, wide)
    return np.ascontiguousarray(shown.transpose(1, 2, 0))


def template_mask(
    image: npt.NDArray[np.uint8], limits: npt.NDArray[np.uint16], cell: int
) -> npt.NDArray[np.uint8]:
    """(height / cell, width / cell), 1 where a channel's sum over a cell, or one of the eight around it, is below the
    first or above the second of `limits`, (2, channels, height / cell, width / cell)."""
    sums = block_sums(image, cell)
    unlike = ((sums < limits[0]) | (sums > limits[1])).any(0)
    h, w = unlike.shape
    around = np.pad(unlike, 1)
    grown = np.any([around[y : y + h, x : x + w] for y in range(3) for x in range(3)], axis=0)
    return np.asarray(grown, np.uint8)
