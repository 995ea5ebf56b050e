"""Affine sum of anomaly maps, then the maximum: EfficientAD's score (arXiv 2303.14535, Algorithm 2).

The maximum is taken on the network's grid. The paper takes it after bilinear up-sampling, whose values never
exceed the grid's maximum; up-sampling serves localisation only (`edge_ad.runtime.localise`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.engines.base import Tensor

FloatArray = npt.NDArray[np.float32]


def map_max(params: dict[str, Any], outputs: dict[str, Tensor]) -> tuple[FloatArray, FloatArray]:
    """score = max over positions of sum_k gain[k] * maps[:, k] + offset.

    params: `output` (name of a (N, K, h, w) tensor), `gain` (K numbers), `offset`, `pad` (border cells that the
    network has no output for). Returns scores (N,) and combined maps (N, h, w), float32.
    """
    maps = outputs[params["output"]].astype(np.float32, copy=False)
    gain = np.asarray(params["gain"], np.float32)
    combined = np.zeros((maps.shape[0], *maps.shape[2:]), np.float32)
    for k in range(maps.shape[1]):  # in a fixed order, so that every machine sums alike
        combined += gain[k] * maps[:, k]
    combined += np.float32(params["offset"])
    return combined.max(axis=(1, 2)), combined
