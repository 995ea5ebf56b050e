"""Several kinds of error for each channel of a series, brought to one score: TSPulse's.

Each error is divided by what it is in normal operation, and enters by log(1 + error / scale): the negative
log-likelihood, but for a factor, of Student's t distribution. So a single huge error in one stream does not outshout
all others, and streams and channels of any unit can be averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from edge_ad.bundle.names import shown
from edge_ad.runtime.engines.base import Engine, Tensor
from edge_ad.runtime.heads.params import Params, checked, unfit
from edge_ad.runtime.heads.result import FloatArray, HeadResult

_FLOAT32 = np.finfo(np.float32)
_Scale = Annotated[float, Field(ge=float(_FLOAT32.tiny), le=float(_FLOAT32.max))]  # which also refuses NaN


class _Params(Params):
    streams: Annotated[list[str], Field(min_length=1, max_length=16)]
    scale: Annotated[list[Annotated[list[_Scale], Field(min_length=1)]], Field(min_length=1)]
    top: Annotated[int, Field(ge=1)]


def error_streams(
    params: dict[str, Any], outputs: Mapping[str, Tensor], parts: Mapping[str, Engine] | None = None
) -> HeadResult:
    """score = mean over the `top` largest channels of mean over streams of log(1 + errors / scale).

    params: `output` (name of a (N, K, C) tensor of errors, none negative), `streams` (their K names), `scale` (K lists
    of C positive numbers), `top` (how many channels count; all where there are fewer). channels of the result: (N, C),
    each channel's mean over streams; also: each stream's mean over the same number of its largest channels, by name.
    Raises SchemaError for parameters that are wrong or do not fit these outputs.
    """
    found, errors = checked("error-streams", _Params, params, outputs)
    wanted = (len(found.streams), len(found.scale[0]))
    if len(found.scale) != wanted[0] or any(len(row) != wanted[1] for row in found.scale):
        raise unfit("error-streams", f"'scale' is not {wanted[0]} lists of one length")
    if errors.shape[1:] != wanted:
        raise unfit(
            "error-streams",
            f"output '{shown(found.output)}' is {errors.shape}, not (N, {wanted[0]}, {wanted[1]})",
        )
    scaled = errors.astype(np.float32, copy=False) / np.asarray(found.scale, np.float32)
    surprise = np.log1p(np.maximum(scaled, np.float32(0)))
    channels = surprise.mean(axis=1, dtype=np.float32)
    return HeadResult(
        scores=_largest(channels, found.top),
        channels=channels,
        also={name: _largest(surprise[:, k], found.top) for k, name in enumerate(found.streams)},
    )


def _largest(values: FloatArray, top: int) -> FloatArray:
    """Mean of the `top` largest of each row of (N, C), (N,) float32; added in sorted order, so alike everywhere."""
    kept = np.sort(values, axis=1)[:, -top:]
    mean: FloatArray = kept.mean(axis=1, dtype=np.float32)
    return mean
