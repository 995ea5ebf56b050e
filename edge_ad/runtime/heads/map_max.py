"""Affine sum of anomaly maps, then the maximum: EfficientAD's score (arXiv 2303.14535, Algorithm 2).

The maximum is taken on the network's grid. The paper takes it after bilinear up-sampling, whose values never
exceed the grid's maximum; up-sampling serves localisation only (`edge_ad.runtime.localise`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edge_ad.bundle.names import shown
from edge_ad.runtime.engines.base import Tensor
from edge_ad.runtime.heads.params import Params, checked, unfit

FloatArray = npt.NDArray[np.float32]

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_Number = Annotated[float, Field(ge=-_FLOAT32_MAX, le=_FLOAT32_MAX)]  # which also refuses NaN


class _Params(Params):
    gain: Annotated[list[_Number], Field(min_length=1)]
    offset: _Number
    pad: Annotated[int, Field(ge=0)] = 0


def map_max(params: dict[str, Any], outputs: Mapping[str, Tensor]) -> tuple[FloatArray, FloatArray | None]:
    """score = max over positions of sum_k gain[k] * maps[:, k] + offset.

    params: `output` (name of a (N, K, h, w) tensor), `gain` (K numbers), `offset`, `pad` (border cells that the
    network has no output for; localisation uses it). Returns scores (N,) and combined maps (N, h, w), float32; no maps
    where they are of a single place, which says nothing of where.
    Raises SchemaError for parameters that are wrong or do not fit these outputs.
    """
    found, maps = checked("map-max", _Params, params, outputs)
    if maps.ndim != 4 or maps.shape[1] != len(found.gain) or 0 in maps.shape[2:]:
        raise unfit(
            "map-max",
            f"output '{shown(found.output)}' is {maps.shape}, not (N, {len(found.gain)}, height, width)",
        )
    maps = maps.astype(np.float32, copy=False)
    combined = np.zeros((maps.shape[0], *maps.shape[2:]), np.float32)
    for k, gain in enumerate(found.gain):  # in a fixed order, so that every machine sums alike
        combined += np.float32(gain) * maps[:, k]
    combined += np.float32(found.offset)
    return combined.max(axis=(1, 2)), None if combined.shape[1:] == (1, 1) else combined
