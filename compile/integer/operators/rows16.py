"""The order of 16-bit weights in an image: rows in groups of four (the last group has what is left), a group's
interleaved by as many values as one load takes; what is short of such a run is filled up with zeros."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.lower import KernelSet
from edge_ad.compile.integer.operators.packing import ROWS

_RUN = {"plain": 2, "dsp": 2, "mve": 8}


def pack16(kernels: KernelSet, weights: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """(rows, depth), flat."""
    run = _RUN[kernels]
    padded = np.pad(weights, ((0, 0), (0, -weights.shape[1] % run)))
    groups = [
        padded[r : r + ROWS].reshape(-1, padded.shape[1] // run, run).transpose(1, 0, 2).ravel()
        for r in range(0, len(padded), ROWS)
    ]
    return np.concatenate(groups)


def scratch16_bytes(kernels: KernelSet, depth: int, rows: int = 0) -> int:
    """Of a layer whose windows have `depth` values; rows: of a doubling, which keeps a window's results too."""
    return 2 * (depth + -depth % _RUN[kernels] + rows)
