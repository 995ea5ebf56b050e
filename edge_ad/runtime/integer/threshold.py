"""The threshold of an integer score."""

from __future__ import annotations

import numpy as np

LOWEST, LARGEST = -(1 << 31), (1 << 31) - 1


def integer_threshold(threshold: float, scale: float) -> int:
    """The largest int32 that is normal: score > the result on a board is just float32(score * scale) > threshold on a
    host, for every score. A threshold below all scores gives the lowest int32, for which no board can alarm on less.

    scale: > 0, of the score; its zero point is 0.
    """
    low, high = LOWEST, LARGEST  # the answer lies between, both included
    while low < high:
        middle = (low + high + 1) // 2
        if np.float32(middle * scale) > threshold:
            high = middle - 1
        else:
            low = middle
    return low
