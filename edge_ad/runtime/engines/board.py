"""A board over the link, as an engine: inputs are sent, the network runs there, outputs are read back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge_ad.errors import EngineError, RestartError, UsageError
from edge_ad.firmware_bridge.client import Hello
from edge_ad.firmware_bridge.connection import BoardAddress, Connection
from edge_ad.firmware_bridge.flasher import ImageHeader, is_live, read_header
from edge_ad.runtime.engines.base import Engine, EngineInfo, Tensor
from edge_ad.runtime.engines.image_ports import PortOption, Ports

_ISA = {"plain": "plain C", "dsp": "Armv7E-M DSP", "mve": "Armv8.1-M MVE"}


class BoardEngine:
    """A model image on a board, which must be live there: `edge-ad flash` is what puts it on.

    input, outputs: the image's ports, as `edge_ad.firmware_bridge.port_spec.port_spec` reads them, the outputs by name
    and in the image's order.
    """

    def __init__(
        self, model: Path, *, input: PortOption, outputs: Mapping[str, PortOption], target: str = "",
        address: BoardAddress | None = None, connection: Connection | None = None, threads: int | None = None,
    ):  # fmt: skip
        """connection: an open one, which stays open, instead of an address. threads: boards have none to choose.

        Raises EngineError when another model is live on the board, and as `Connection` does.
        """
        if threads is not None:
            raise UsageError("a board has no --threads")
        self.parts: Mapping[str, Engine] = {}
        self._ports = Ports.of(input, outputs)
        if address is None and connection is None:
            address = BoardAddress(board="posix" if target == "posix" else None)
        self._own = connection is None
        self._connection = connection or Connection(address)  # type: ignore[arg-type]
        self._client = self._connection.client
        self._instructions: int | None = None
        self._last_us = 0
        try:
            self._header = _header(model)
            self._boots, self._inferences = self._require_live(self._connection.hello)
        except BaseException:
            self.close()
            raise

    def infer(self, batch: Tensor) -> dict[str, Tensor]:
        """Run one input of exactly the network's shape: its integers, or numbers where the port says what its integers
        stand for. Outputs are integers as the image gives them.

        A board that restarts meanwhile is asked once more. Raises EngineError for another input, LinkError.
        """
        values = self._ports.taken(batch)
        try:
            return self._infer(values)
        except RestartError:
            self._boots, self._inferences = self._require_live(self._client.hello())
            return self._infer(values)

    def _infer(self, values: bytes) -> dict[str, Tensor]:
        repeated = self._client.repeated
        self._client.set_input(0, values)
        ran = self._client.run()
        outputs: dict[str, Tensor] = {
            name: spec.read(self._client.output(index, spec.nbytes))
            for index, (name, spec) in enumerate(self._ports.outputs.items())
        }
        self._inferences += 1
        if self._client.repeated != repeated:
            self._require_unbroken()
        self._instructions = ran.instructions
        self._last_us = round(ran.ticks * 1e6 / ran.ticks_hz) if ran.ticks_hz else 0
        return outputs

    def _require_unbroken(self) -> None:
        """A board that restarted runs a repeated request without the input; nothing but its counters tells."""
        if (self._client.hello().boots, self._client.status().inferences) != (self._boots, self._inferences):
            raise RestartError("the board restarted during an inference", where=str(self._connection.address))

    def describe(self) -> EngineInfo:
        """The board, its kernels, firmware and memory (bytes; stack_used is its high-water mark); instructions of the
        last inference where the board knows them."""
        hello, status = self._connection.hello, self._client.status()
        details = {
            "board": hello.board,
            "kernels": hello.kernels,
            "firmware": hello.build,
            "address": str(self._connection.address),
            "arena": str(status.arena_used),
            "static": str(status.static_bytes),
            "stack": str(status.stack_bytes),
            "stack_used": str(status.stack_used),
        }
        if self._instructions is not None:
            details["instructions"] = str(self._instructions)
        elif self._last_us:
            details["inference_us"] = str(self._last_us)
        return EngineInfo(
            engine="board",
            version=f"firmware {hello.build}",
            provider=hello.board,
            isa=_ISA.get(hello.kernels, hello.kernels),
            threads=1,
            precision="int8",
            details=details,
        )

    def close(self) -> None:
        """Close the line; an emulated board stops."""
        if self._own:
            self._connection.close()

    def _require_live(self, hello: Hello) -> tuple[int, int]:
        """Starts and inferences of the board so far. Raises EngineError when another model is live there."""
        if not is_live(hello, self._header):
            what = "no model is" if hello.live_slot is None else "another model is"
            option = "port" if self._connection.address.port else "board"
            raise EngineError(
                f"{what} live on '{hello.board}'",
                where=str(self._connection.address),
                hint=f"put this one on it first: edge-ad flash BUNDLE --{option} {self._connection.address}",
            )
        return hello.boots, self._client.status().inferences


def _header(model: Path) -> ImageHeader:
    try:
        return read_header(model.read_bytes())
    except OSError as error:
        raise EngineError(f"cannot be read ({error.strerror})", where=model) from error
