"""The order of 16-bit weights in an image, the same for all kernel sets: one load takes a pair of values.

Rows come in groups of four (the last group has what is left), a group's interleaved by pairs, an odd row filled up with
a zero."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.operators.packing import ROWS

PAIR = 2


def pack16(weights: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """(rows, depth), flat."""
    padded = np.pad(weights, ((0, 0), (0, weights.shape[1] % PAIR)))
    groups = [
        padded[r : r + ROWS].reshape(-1, padded.shape[1] // PAIR, PAIR).transpose(1, 0, 2).ravel()
        for r in range(0, len(padded), ROWS)
    ]
    return np.concatenate(groups)


def scratch16_bytes(depth: int, rows: int = 0) -> int:
    """Of a layer whose windows have `depth` values; rows: of a doubling, which keeps a window's results too."""
    return 2 * (depth + depth % PAIR + rows)
