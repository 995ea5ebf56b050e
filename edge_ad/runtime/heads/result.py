"""What a score head gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class HeadResult:
    """scores: (N,), higher is more anomalous. maps: (N, h, w) in the same unit, or None for a head without one.
    channels: (N, C) in the same unit, how much each channel of a series adds, or None. also: further figures (N,)
    that cost nothing, by name."""

    scores: FloatArray
    maps: FloatArray | None = None
    channels: FloatArray | None = None
    also: dict[str, FloatArray] = field(default_factory=dict)
