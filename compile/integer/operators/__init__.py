"""How each .tflite operator becomes records; importing this fills `lower.OPERATORS`."""

from edge_ad.compile.integer.operators import (
    arithmetic,
    convolution,
    fully_connected,
    maps,
    pooling,
    reduction,
    resize,
    shape,
    softmax,
    tables,
    transpose_convolution,
    wider,
)

__all__ = [
    "arithmetic",
    "convolution",
    "fully_connected",
    "maps",
    "pooling",
    "reduction",
    "resize",
    "shape",
    "softmax",
    "tables",
    "transpose_convolution",
    "wider",
]
