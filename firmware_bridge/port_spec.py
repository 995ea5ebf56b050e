"""Ports of a model image: what integers an input or output holds, and what they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.errors import DataError, SchemaError

Array = npt.NDArray[Any]
DTYPES = ("int8", "uint8", "int16", "int32")


@dataclass(frozen=True)
class PortSpec:
    """value = scale * (integer - zero_point). shape: with the batch dimension, (1, …)."""

    shape: tuple[int, ...]
    dtype: str = "int8"
    scale: float = 1.0
    zero_point: int = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in the arena."""
        return self.size * np.dtype(self.dtype).itemsize

    def quantize(self, values: Array) -> Array:
        """Numbers of this shape as the port's integers: value / scale in float64, rounded half to even, plus the zero
        point, saturated. Integers of the port's own type are taken as they are. Raises DataError for values that are
        not finite."""
        if values.dtype == np.dtype(self.dtype):
            return values
        real = values.astype(np.float64)
        if not np.isfinite(real).all():
            raise DataError("holds values that are not finite")
        limits = np.iinfo(self.dtype)
        steps = np.clip(np.rint(real / self.scale) + self.zero_point, limits.min, limits.max)
        integers: Array = steps.astype(self.dtype)
        return integers

    def dequantize(self, integers: Array) -> npt.NDArray[np.float32]:
        """What integers of any shape stand for; the product is a float64, rounded once."""
        return ((integers.astype(np.float64) - self.zero_point) * self.scale).astype(np.float32)

    def read(self, raw: bytes) -> Array:
        """The array that lies in memory as `raw`, little-endian."""
        little = np.dtype(self.dtype).newbyteorder("<")
        return np.frombuffer(raw, little).astype(self.dtype, copy=False).reshape(self.shape)

    def raw(self, integers: Array) -> bytes:
        """The bytes of an array of this port's type, little-endian."""
        return np.ascontiguousarray(integers).astype(np.dtype(self.dtype).newbyteorder("<")).tobytes()

    def option(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return {
            "shape": list(self.shape),
            "dtype": self.dtype,
            "scale": self.scale,
            "zero_point": self.zero_point,
        }


def port_spec(option: Mapping[str, Any] | Sequence[int]) -> PortSpec:
    """The port that a manifest's option says: all of it, or an INT8 port's shape alone. Raises SchemaError."""
    try:
        if not isinstance(option, Mapping):
            return PortSpec(_shape(option))
        dtype, scale, zero = str(option["dtype"]), float(option["scale"]), int(option["zero_point"])
        spec = PortSpec(_shape(option["shape"]), dtype, scale, zero)
        if dtype not in DTYPES or not isfinite(scale) or scale <= 0 or abs(zero) >= 1 << 31:
            raise ValueError(option)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SchemaError(
            "a port of the model image is not described as it has to be", hint="compile the bundle again"
        ) from error
    return spec


def _shape(extents: Any) -> tuple[int, ...]:
    shape = tuple(int(extent) for extent in extents)
    if not shape or min(shape) < 1:
        raise ValueError(shape)
    return shape


def random_inputs(spec: PortSpec, count: int, seed: int) -> list[bytes]:
    """The bytes of so many inputs that use the whole range of the port's integers, each with its own share of it: the
    first all of it, so that what saturates is reached."""
    rng = np.random.default_rng(seed)
    limits = np.iinfo(spec.dtype)
    found = []
    for number in range(count):
        width = 2.0 ** -(number % 6)
        low = int(np.clip(spec.zero_point + (limits.min - spec.zero_point) * width, limits.min, limits.max))
        high = int(np.clip(spec.zero_point + (limits.max - spec.zero_point) * width, limits.min, limits.max))
        values = rng.integers(low, high, spec.shape, endpoint=True).astype(spec.dtype)
        found.append(spec.raw(values))
    return found
