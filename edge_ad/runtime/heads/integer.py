"""Scores of INT8 networks, in float of the dequantized values, where value = scale * (integer - zero_point).

All sums are of integers and exact, and only a few float64 operations follow, so that every machine gets the same
score to the bit.
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
IntArray = npt.NDArray[np.int64]
_INPUT = "input"  # as `heads.INPUT`
_Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_ZeroPoint = Annotated[int, Field(ge=-128, le=127)]


class _Output(Params):
    scale: _Scale
    zero_point: _ZeroPoint


class _InputAndOutput(_Output):
    input_scale: _Scale
    input_zero_point: _ZeroPoint


def mse(params: dict[str, Any], outputs: Mapping[str, Tensor]) -> tuple[FloatArray, None]:
    """Mean squared difference between input and output: the score of an autoencoder, (N,) float32.

    params: `output` (name of a tensor of the input's size), `input_scale`, `input_zero_point`, `scale`,
    `zero_point` (of the output). Raises SchemaError for parameters that are wrong or do not fit the network.
    """
    found, output = checked("mse", _InputAndOutput, params, outputs)
    x, y = _centred(outputs[_INPUT], found.input_zero_point), _centred(output, found.zero_point)
    if x.shape != y.shape:
        raise unfit(
            "mse", f"input and output '{shown(found.output)}' have {x.shape[1]} and {y.shape[1]} values"
        )
    a, b = found.input_scale, found.scale
    sums = zip((x * x).sum(1), (x * y).sum(1), (y * y).sum(1), strict=True)
    n = x.shape[1]
    scores = [
        max(0.0, (a * a * int(xx) - 2.0 * a * b * int(xy) + b * b * int(yy)) / n) for xx, xy, yy in sums
    ]
    return np.array(scores, np.float32), None


def value(params: dict[str, Any], outputs: Mapping[str, Tensor]) -> tuple[FloatArray, None]:
    """The one value of an output, (N,) float32. params: `output`, `scale`, `zero_point`. Raises as `mse`."""
    found, output = checked("value", _Output, params, outputs)
    y = _centred(output, found.zero_point)
    if y.shape[1] != 1:
        raise unfit("value", f"output '{shown(found.output)}' has {y.shape[1]} values, not one")
    return (y[:, 0] * found.scale).astype(np.float32), None


def max_value(params: dict[str, Any], outputs: Mapping[str, Tensor]) -> tuple[FloatArray, None]:
    """The largest value of an output, (N,) float32. params: `output`, `scale`, `zero_point`. Raises as `mse`."""
    found, output = checked("max", _Output, params, outputs)
    y = _centred(output, found.zero_point)
    return (y.max(axis=1) * found.scale).astype(np.float32), None


def _centred(tensor: Tensor, zero_point: int) -> IntArray:
    """(N, elements) int64 with zero at 0."""
    return tensor.reshape(len(tensor), -1).astype(np.int64) - int(zero_point)
