"""The ports of a model image as its engines, on a board and on this machine, give and take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_ad.errors import EngineError
from edge_ad.firmware_bridge.port_spec import PortSpec, port_spec
from edge_ad.runtime.engines.base import Tensor

PortOption = Mapping[str, Any] | Sequence[int]


def _place(option: PortOption) -> int:
    """Among the image's outputs; those of bundles that do not say lie in the order of their names."""
    return int(option.get("place", 0)) if isinstance(option, Mapping) else 0


@dataclass(frozen=True)
class Ports:
    """input, outputs: the outputs by name and in the image's order. quantizes: the input takes numbers too, since it is
    known what its integers stand for."""

    input: PortSpec
    outputs: dict[str, PortSpec]
    quantizes: bool

    @classmethod
    def of(cls, given: PortOption, made: Mapping[str, PortOption]) -> Ports:
        """As a manifest's options say. Raises SchemaError."""
        outputs = {name: port_spec(made[name]) for name in sorted(made, key=lambda name: _place(made[name]))}
        return cls(port_spec(given), outputs, isinstance(given, Mapping))

    def taken(self, batch: Tensor) -> bytes:
        """The bytes that one input becomes. Raises EngineError for one that the image does not take."""
        fits = batch.dtype == self.input.dtype or (self.quantizes and batch.dtype.kind == "f")
        if batch.shape != self.input.shape or not fits:
            raise EngineError(
                f"the network takes {self.input.shape} {self.input.dtype}, not {batch.shape} {batch.dtype}"
            )
        return self.input.raw(self.input.quantize(batch))
