"""Score heads: small exact functions of a network's outputs, by name, float32 on Linux targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import HeadSpec
from edge_ad.bundle.names import shown
from edge_ad.errors import EngineError, SchemaError
from edge_ad.runtime.engines.base import Tensor
from edge_ad.runtime.heads.integer import max_value, mse, value
from edge_ad.runtime.heads.map_max import map_max

FloatArray = npt.NDArray[np.float32]
INPUT = "input"  # no network output may have this name


@dataclass(frozen=True)
class HeadResult:
    """scores: (N,), higher is more anomalous. maps: (N, h, w) in the same unit, or None for a head without one."""

    scores: FloatArray
    maps: FloatArray | None


_HEADS: dict[str, Callable[[dict[str, Any], dict[str, Tensor]], tuple[FloatArray, FloatArray | None]]] = {
    "map-max": map_max,
    "mse": mse,
    "value": value,
    "max": max_value,
}


def evaluate(head: HeadSpec, outputs: dict[str, Tensor]) -> HeadResult:
    """Score a batch of network outputs; heads that compare with the input find it as `INPUT` among them.

    Raises SchemaError for an unknown head and for parameters that do not fit the outputs, EngineError for a score
    that is not finite.
    """
    if head.name not in _HEADS:
        raise SchemaError(
            f"unknown score head '{shown(head.name)}'", hint=f"this version has: {', '.join(_HEADS)}"
        )
    scores, maps = _HEADS[head.name](head.params, outputs)
    if not np.isfinite(scores).all():
        raise EngineError(
            "the network gave a score that is not finite",
            hint="have it prove itself: edge-ad verify part.edgead",
        )
    return HeadResult(scores, maps)
