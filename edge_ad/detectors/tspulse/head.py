"""The scales of the score head, from normal data alone (`edge_ad.runtime.heads.error_streams`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import HeadSpec
from edge_ad.detectors.tspulse.stages import STREAMS
from edge_ad.errors import ModelError

# One default for every series, chosen over six sets at once (docs/tspulse.md).
TOP_CHANNELS = 4
# Smallest scale, in units of the training variance: what never errs in calibration must not decide alone later.
SCALE_FLOOR = 0.01


def fit_error_streams(errors: Sequence[npt.NDArray[np.generic]]) -> HeadSpec:
    """Scales from the errors (1, K, C) of each calibration window: their mean, a stream and channel at a time.

    Raises ModelError when there is no window, or an error is not finite.
    """
    if not errors:
        raise ModelError("there is no calibration window", hint="give a longer series of normal operation")
    scale = np.concatenate(errors).astype(np.float64).mean(axis=0)
    if not np.isfinite(scale).all():
        raise ModelError(
            "the network's errors on the calibration windows are not finite", hint="fit it again"
        )
    return HeadSpec(
        name="error-streams",
        params={
            "output": "errors",
            "streams": list(STREAMS),
            "scale": np.maximum(scale, SCALE_FLOOR).tolist(),
            "top": TOP_CHANNELS,
        },
    )
