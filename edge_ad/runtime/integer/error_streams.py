"""The head `error-streams` (edge_ad/runtime/heads/error_streams.py) in integers, as a board computes it."""

from __future__ import annotations

import numpy as np

from edge_ad.runtime.integer.functions import Int64, log2, scale

RATIO_BITS = 16


def error_streams(errors: Int64, multipliers: Int64, shifts: Int64, top: int) -> int:
    """Of errors (K, C): the sum over the `top` largest channels (all where there are fewer) of the sum over streams of
    log2(1 + errors / scales), in units of 2^-16.

    multipliers, shifts: (K, C), by which `scale` gives errors / scales in units of 2^-16. Negative errors count as 0.
    Nothing but these and the logarithms is rounded; the mean over streams and channels, and ln 2, are a factor of the
    result's own.
    """
    ratios = scale(np.maximum(errors, 0), multipliers, shifts)
    one = 1 << RATIO_BITS
    surprise = np.array([[log2(one + int(r)) - (RATIO_BITS << 16) for r in row] for row in ratios])
    return int(np.sort(surprise.sum(0))[::-1][:top].sum())
