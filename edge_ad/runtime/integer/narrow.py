"""From int16 to the INT8 grid of another tensor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.integer.functions import scale


def narrow(x: npt.NDArray[np.int16], multiplier: int, shift: int, zero: int) -> npt.NDArray[np.int8]:
    """x * multiplier / 2^31 * 2^shift, rounded once, half up, plus `zero`, saturated; shift from -31 to 15."""
    return np.clip(scale(x.astype(np.int64), multiplier, shift) + zero, -128, 127).astype(np.int8)
