"""The engine contract: tensors in, tensors out, and an honest account of what really runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

Tensor = npt.NDArray[np.generic]


@dataclass(frozen=True)
class EngineInfo:
    """What an engine says of itself. `provider` is the one in use, not the one asked for; where the two differ, or
    others have a share, `details["fallback"]` says so in a clause for people."""

    engine: str
    version: str
    provider: str
    isa: str
    threads: int
    precision: str
    details: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.engine} {self.version} ({self.provider}, {self.isa}, {self.precision})"


class Engine(Protocol):
    """One loaded network, with the further networks that its score head calls, by name (mostly none)."""

    @property
    def parts(self) -> Mapping[str, Engine]:
        """Loaded like the main network, and closed with it."""
        ...

    def infer(self, batch: Tensor) -> dict[str, Tensor]:
        """Run one batch of the manifest's input shape and dtype; outputs by name, float32."""
        ...

    def describe(self) -> EngineInfo:
        """Provider, instruction set, threads and precision in use."""
        ...

    def close(self) -> None:
        """Release the device."""
        ...
