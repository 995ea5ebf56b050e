"""A model image with plain kernels on this machine: the same C that a board runs, and the same results to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge_ad.errors import EngineError, UsageError
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.runtime.engines.base import Engine, EngineInfo, Tensor
from edge_ad.runtime.engines.image_ports import PortOption, Ports


class ImageEngine:
    """input, outputs: as of `BoardEngine`. parts: engines that a score head calls, given while compiling only."""

    def __init__(
        self, model: Path, *, input: PortOption, outputs: Mapping[str, PortOption], target: str = "",
        parts: Mapping[str, Engine] | None = None, threads: int | None = None,
    ):  # fmt: skip
        """Raises EngineError for an image that the engine refuses, MissingDependencyError without a C compiler."""
        if threads is not None:
            raise UsageError("a board has no --threads")
        self.parts: Mapping[str, Engine] = parts or {}
        self._target = target
        self._ports = Ports.of(input, outputs)
        try:
            content = model.read_bytes()
        except OSError as error:
            raise EngineError(f"cannot be read ({error.strerror})", where=model) from error
        self._model = HostModel(
            content, inputs=[self._ports.input], outputs=list(self._ports.outputs.values())
        )

    def infer(self, batch: Tensor) -> dict[str, Tensor]:
        """As `BoardEngine.infer`."""
        values = self._ports.input.read(self._ports.taken(batch))
        made: list[Tensor] = list(self._model.infer([values]))
        return dict(zip(self._ports.outputs, made, strict=True))

    def describe(self) -> EngineInfo:
        """The board's engine, built for this machine."""
        return EngineInfo(
            engine="board", version="this machine's build", provider="host", isa="plain C on this machine", threads=1,
            precision="int8", details={"kernels": "plain"},
        )  # fmt: skip

    def close(self) -> None:
        """Nothing to release."""
