"""Records of FULLY_CONNECTED and the convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_ad.compile.integer.records.base import Record, Ref


@dataclass(frozen=True)
class FullyConnected(Record):
    """output[b, u] = clamp(requantize(bias[u] + sum_d input[b, d] * weights[u, d]) + output_zero).

    weights (units, depth) int8, packed for the kernel set. channels: int32 bias[units], multiplier[units],
    shift[units]; the input's zero point is folded into the bias.
    """

    C_NAME: ClassVar[str] = "fully_connected"

    input: Ref
    output: Ref
    weights: Ref
    channels: Ref
    batch: int
    depth: int
    units: int
    output_zero: int
    low: int
    high: int
