"""Real multipliers as integers: LiteRT's quantization_util (QuantizeMultiplier)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edge_ad.errors import ModelError


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift) with real = multiplier / 2^31 * 2^shift, multiplier in [2^30, 2^31); (0, 0) for what is tiny.

    Raises ModelError for a multiplier that is negative or not finite.
    """
    if not 0 <= real < math.inf:
        raise ModelError(f"a scale ratio of {real} cannot be")
    if real == 0:
        return 0, 0
    mantissa, exponent = math.frexp(real)
    multiplier = math.floor(mantissa * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier, exponent = multiplier // 2, exponent + 1
    if exponent < -31:
        return 0, 0
    if exponent > 30:
        return (1 << 31) - 1, 30
    return multiplier, exponent


@dataclass(frozen=True)
class RoundedProduct:
    """clamp(round(sum * scale) + zero_point) of an INT8 output, as LiteRT's FULLY_CONNECTED has it.

    The product is a float64 and its halves go away from zero. It is a step function of the sum, so a fixed-point
    multiplier that takes each of its (at most 255) steps at the same sum gives the same results, all of them.
    """

    scale: float
    zero_point: int
    largest_sum: int

    def multiplier(self, bits: int = 31) -> tuple[int, int] | None:
        """(multiplier, shift), the multiplier below 2^bits, such that (sum * multiplier + half) >> (bits - shift).

        half: 2^(bits - shift - 1). The result equals the rounded product for every sum of at most `largest_sum`
        either way once both are clamped to INT8. None where no such multiplier exists.
        """
        mantissa, shift = math.frexp(self.scale)
        if self.scale == 0 or self.largest_sum == 0 or shift < -31:
            return 0, 0  # no sum of 32 bits reaches a half
        lowest, highest = 0, (1 << bits) - 1
        for below, tie in self._steps():
            doubled = int(2 * tie) << (bits - shift - 1)
            if below > 0:
                highest = min(highest, -(-doubled // below) - 1)
            if below < self.largest_sum:
                lowest = max(lowest, doubled // (below + 1) + 1)
        if lowest > highest:
            return None
        return min(max(round(math.ldexp(mantissa, bits)), lowest), highest), shift

    def _steps(self) -> Iterator[tuple[int, float]]:
        """(largest sum whose product rounds to less than n, n - 1/2) of each step n that an INT8 output shows.

        Halves go away from zero: the steps of negative sums are the same ones mirrored, and a multiplier that rounds
        halves up has to be above every tie, not at it. Sums are cut at `largest_sum`, where the steps end.
        """
        for n in range(1, max(127 - self.zero_point, 128 + self.zero_point) + 1):
            tie = n - 0.5
            reached = math.floor(tie / self.scale) - 1
            while reached * self.scale < tie:
                reached += 1
            below = min(reached - 1, self.largest_sum)
            yield below, tie
            if below == self.largest_sum:
                return


def activation_range(activation: int, scale: float, zero_point: int) -> tuple[int, int]:
    """Lowest and highest INT8 value that a fused activation leaves (schema's ActivationFunctionType)."""

    def quantized(value: float) -> int:
        # LiteRT: zero_point + round(value / scale), both float32, half away from zero.
        ratio = float(np.float32(value) / np.float32(scale))
        return zero_point + int(math.floor(abs(ratio) + 0.5) * (1 if ratio >= 0 else -1))

    none, relu, relu_n1_to_1, relu6 = range(4)
    if activation == none:
        return -128, 127
    if activation == relu:
        return max(-128, quantized(0.0)), 127
    if activation == relu6:
        return max(-128, quantized(0.0)), min(127, quantized(6.0))
    if activation == relu_n1_to_1:
        return max(-128, quantized(-1.0)), min(127, quantized(1.0))
    raise ModelError(f"fused activation {activation} is not covered", hint="use RELU, RELU6 or none")
