"""The sum of squared differences of two tensors of different scales, each INT8 or int16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LARGEST = (1 << 31) - 1


@dataclass(frozen=True)
class SquaredError:
    """zeros, multipliers: of the first tensor and of the second; the multipliers are what a step of each is worth in
    one common small unit. shift: powers of two that the sum is divided by."""

    zeros: tuple[int, int]
    multipliers: tuple[int, int]
    shift: int

    def __call__(self, a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """(1, 1) int32 of two tensors of one size.

        d[i] = (a[i] - zeros[0]) * multipliers[0] - (b[i] - zeros[1]) * multipliers[1], of 32 bits; the result is the
        sum of d[i]^2, of 63 bits, divided by 2^shift, halves up, at most 2^31 - 1.
        """
        x, y = (
            (t.ravel().astype(np.int64) - zero) * multiplier
            for t, zero, multiplier in zip((a, b), self.zeros, self.multipliers, strict=True)
        )
        total = int(np.square(x - y).sum())
        half = 1 << self.shift >> 1
        return np.array([[min((total + half) >> self.shift, LARGEST)]], np.int32)
