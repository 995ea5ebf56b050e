"""The records of a model image, one dataclass a board operator. The order of these imports numbers them: the ABI."""

from edge_ad.compile.integer.records.base import (
    IN_IMAGE,
    NO_REF,
    RECORDS,
    Buffer,
    Constant,
    Loop,
    Record,
    Ref,
    Stretch,
    header,
    opcode,
)

from edge_ad.compile.integer.records.matrix import (  # isort: skip
    Convolution,
    Depthwise,
    FullyConnected,
    FullyConnectedFine,
    Geometry,
    TransposeConvolution,
)
from edge_ad.compile.integer.records import arithmetic, moves, pooling  # isort: skip
from edge_ad.compile.integer.records import scores  # isort: skip
from edge_ad.compile.integer.records import spectrum  # isort: skip
from edge_ad.compile.integer.records import distances, layers16, regret  # isort: skip
from edge_ad.compile.integer.records import residual, series  # isort: skip
from edge_ad.compile.integer.records import maps  # isort: skip
from edge_ad.compile.integer.records import wider  # isort: skip

__all__ = [
    "IN_IMAGE",
    "NO_REF",
    "RECORDS",
    "Buffer",
    "Constant",
    "Convolution",
    "Depthwise",
    "FullyConnected",
    "FullyConnectedFine",
    "Geometry",
    "Loop",
    "Record",
    "Ref",
    "Stretch",
    "TransposeConvolution",
    "arithmetic",
    "distances",
    "header",
    "layers16",
    "maps",
    "moves",
    "opcode",
    "pooling",
    "regret",
    "residual",
    "scores",
    "series",
    "spectrum",
    "wider",
]
