"""Real multipliers as integers: LiteRT's quantization_util (QuantizeMultiplier)."""

from __future__ import annotations

import math

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


def activation_range(activation: int, scale: float, zero_point: int) -> tuple[int, int]:
    """Lowest and highest INT8 value that a fused activation leaves (schema's ActivationFunctionType)."""
    import numpy as np

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
