"""What the integers of an image's ports stand for: the table behind them (docs/model-image.md), written and read."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_ad.errors import SchemaError, UsageError
from edge_ad.firmware_bridge.monitor import decimal_unit
from edge_ad.firmware_bridge.port_spec import DTYPES, PortSpec

_MAGIC = 0x4D524F46  # "FORM"
_FORM = struct.Struct("<Iiiif")  # type, zero point, scale as mantissa and exponent, scale
_LARGEST_EXPONENT = 8  # of a scale that a board prints
_PORTS_AT = 28  # in an image's header: their offset, inputs, outputs
_PORT = struct.Struct("<II")


@dataclass(frozen=True)
class Forms:
    """Of each input and output, flat."""

    inputs: tuple[PortSpec, ...]
    outputs: tuple[PortSpec, ...]


def pack_forms(specs: Sequence[PortSpec]) -> bytes:
    """Of all ports; nothing where a board could not print one of them."""
    try:
        words = [
            _FORM.pack(DTYPES.index(s.dtype), s.zero_point, *decimal_unit(s.scale), s.scale) for s in specs
        ]
    except (UsageError, ValueError, struct.error, OverflowError):
        return b""
    if any(decimal_unit(spec.scale)[1] > _LARGEST_EXPONENT for spec in specs):
        return b""
    return struct.pack("<I", _MAGIC) + b"".join(words)


def read_forms(image: bytes) -> Forms:
    """Raises SchemaError for an image that has none."""
    try:
        at, n_inputs, n_outputs = struct.unpack_from("<III", image, _PORTS_AT)
        count = n_inputs + n_outputs
        sizes = [_PORT.unpack_from(image, at + _PORT.size * i)[1] for i in range(count)]
        at += _PORT.size * count
        if struct.unpack_from("<I", image, at)[0] != _MAGIC:
            raise ValueError
        specs = [_spec(image, at + 4 + _FORM.size * i, size) for i, size in enumerate(sizes)]
    except (struct.error, ValueError, IndexError) as error:
        raise SchemaError(
            "the model image does not tell what its integers stand for", hint="compile the bundle again"
        ) from error
    return Forms(tuple(specs[:n_inputs]), tuple(specs[n_inputs:]))


def _spec(image: bytes, at: int, nbytes: int) -> PortSpec:
    kind, zero, _, _, scale = _FORM.unpack_from(image, at)
    dtype = DTYPES[kind]
    return PortSpec((1, nbytes // np.dtype(dtype).itemsize), dtype, scale, zero)
