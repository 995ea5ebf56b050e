"""Scores of INT8 networks, in float of the dequantized values, where value = scale * (integer - zero_point).

All sums are of integers and exact, and only a few float64 operations follow, so that every machine gets the same
score to the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.engines.base import Tensor

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
_INPUT = "input"  # as `heads.INPUT`


def mse(params: dict[str, Any], outputs: dict[str, Tensor]) -> tuple[FloatArray, None]:
    """Mean squared difference between input and output: the score of an autoencoder, (N,) float32.

    params: `output` (name of a tensor of the input's size), `input_scale`, `input_zero_point`, `scale`,
    `zero_point` (of the output).
    """
    x = _centred(outputs[_INPUT], params["input_zero_point"])
    y = _centred(outputs[params["output"]], params["zero_point"])
    if x.shape != y.shape:
        raise ValueError(f"input and output differ in size, {x.shape[1]} and {y.shape[1]}")
    a, b = float(params["input_scale"]), float(params["scale"])
    sums = zip((x * x).sum(1), (x * y).sum(1), (y * y).sum(1), strict=True)
    n = x.shape[1]
    scores = [
        max(0.0, (a * a * int(xx) - 2.0 * a * b * int(xy) + b * b * int(yy)) / n) for xx, xy, yy in sums
    ]
    return np.array(scores, np.float32), None


def value(params: dict[str, Any], outputs: dict[str, Tensor]) -> tuple[FloatArray, None]:
    """The one value of an output, (N,) float32. params: `output`, `scale`, `zero_point`."""
    y = _centred(outputs[params["output"]], params["zero_point"])
    if y.shape[1] != 1:
        raise ValueError(f"the output has {y.shape[1]} values, not one")
    return (y[:, 0] * float(params["scale"])).astype(np.float32), None


def max_value(params: dict[str, Any], outputs: dict[str, Tensor]) -> tuple[FloatArray, None]:
    """The largest value of an output, (N,) float32. params: `output`, `scale`, `zero_point`."""
    y = _centred(outputs[params["output"]], params["zero_point"])
    return (y.max(axis=1) * float(params["scale"])).astype(np.float32), None


def _centred(tensor: Tensor, zero_point: int) -> IntArray:
    """(N, elements) int64 with zero at 0."""
    return tensor.reshape(len(tensor), -1).astype(np.int64) - int(zero_point)
