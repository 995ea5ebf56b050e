"""Score heads: small exact functions of a network's outputs, by name, float32 on Linux targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import HeadSpec
from edge_ad.bundle.names import shown
from edge_ad.errors import EngineError, SchemaError
from edge_ad.runtime.engines.base import Engine, Tensor
from edge_ad.runtime.heads.error_streams import error_streams
from edge_ad.runtime.heads.integer import max_value, mse, value
from edge_ad.runtime.heads.likelihood_regret import likelihood_regret
from edge_ad.runtime.heads.map_max import map_max
from edge_ad.runtime.heads.mean_error import mean_error
from edge_ad.runtime.heads.result import HeadResult

FloatArray = npt.NDArray[np.float32]
__all__ = ["INPUT", "HeadResult", "evaluate"]

INPUT = "input"  # no network output may have this name


Head = Callable[[dict[str, Any], Mapping[str, Tensor], Mapping[str, Engine]], HeadResult]


def _plain(
    head: Callable[[dict[str, Any], Mapping[str, Tensor]], tuple[FloatArray, FloatArray | None]],
) -> Head:
    """A head that calls no further network and gives scores and perhaps maps."""
    return lambda params, outputs, parts: HeadResult(*head(params, outputs))


_HEADS: dict[str, Head] = {
    "map-max": _plain(map_max),
    "mse": _plain(mse),
    "value": _plain(value),
    "max": _plain(max_value),
    "likelihood-regret": likelihood_regret,
    "error-streams": error_streams,
    "mean-error": mean_error,
}


def evaluate(
    head: HeadSpec, outputs: Mapping[str, Tensor], parts: Mapping[str, Engine] | None = None
) -> HeadResult:
    """Score a batch of network outputs; heads that compare with the input find it as `INPUT` among them.

    parts: the further networks that some heads call (`Engine.parts`).

    Raises SchemaError for an unknown head and for parameters that do not fit the outputs, EngineError for a score
    that is not finite.
    """
    if head.name not in _HEADS:
        raise SchemaError(
            f"unknown score head '{shown(head.name)}'", hint=f"this version has: {', '.join(_HEADS)}"
        )
    result = _HEADS[head.name](head.params, outputs, parts or {})
    if not np.isfinite(result.scores).all():
        raise EngineError(
            "the network gave a score that is not finite",
            hint="have it prove itself: edge-ad verify part.edgead",
        )
    return result
