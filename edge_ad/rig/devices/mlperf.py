"""Boards that speak MLPerf Tiny's text dialect: anybody's, which compute what they compute (docs/mlperf.md)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edge_ad.bundle.manifest import Payload
from edge_ad.errors import UsageError
from edge_ad.firmware_bridge.mlperf import TextBoard, TextIdentity, TextPerformance, measure, open_text_board
from edge_ad.firmware_bridge.port_spec import random_inputs
from edge_ad.rig.config import Rig
from edge_ad.rig.devices.base import NotCheckedError, OpenDevice, run_command
from edge_ad.rig.tables import MlperfTable
from edge_ad.runtime.deployment import LiveBundle
from edge_ad.runtime.engines.base import Tensor
from edge_ad.runtime.engines.image_ports import Ports
from edge_ad.runtime.golden import GoldenResult

_COST_WINDOWS, _COST_SECONDS = 3, 1.0


class TextDevice(OpenDevice):
    """A board that answers in text. told: what it said of itself."""

    table: MlperfTable

    def __init__(self, table: MlperfTable, rig: Rig):
        super().__init__(table, rig)
        self.line: TextBoard = self._held.enter_context(
            open_text_board(table.port, table.baud, silence_s=table.silence_s)
        )
        self.told: TextIdentity = self.line.identify()

    def payload(self, bundle: LiveBundle) -> Payload:
        """The one of the device's `target`; by default the bundle's only one for boards. Raises SchemaError,
        UsageError."""
        if self.table.target is not None:
            return bundle.manifest.payload(self.table.target)
        found = [p for p in bundle.manifest.payloads if p.engine == "board"]
        plain = [p for p in found if p.target == "posix"]  # all of them compute the same
        if not found:
            raise UsageError("the bundle has no payload for boards", where=f"device '{self.table.name}'")
        return (plain or found)[0]

    def ports(self, bundle: LiveBundle) -> Ports:
        """Input and outputs of the bundle's network."""
        options = self.payload(bundle).options
        return Ports.of(options["input"], options["outputs"])

    def image(self, bundle: LiveBundle) -> bytes:
        """The model image that says what is expected."""
        return (bundle.folder / self.payload(bundle).model).read_bytes()

    def ready(self, bundle: object) -> None:
        """Nothing: which model it holds only shows in what it computes."""

    def differs(self, bundle: LiveBundle) -> str | None:
        """Raises NotCheckedError: the dialect does not tell."""
        raise NotCheckedError("the text dialect does not tell which model is live")

    def flash(self, bundle: LiveBundle) -> None:
        """Raises NotCheckedError: the dialect has no upload."""
        raise NotCheckedError("the text dialect has no upload")

    def prove(self, bundle: LiveBundle) -> GoldenResult:
        """Raises NotCheckedError: golden vectors are compared by the check 'accuracy'."""
        raise NotCheckedError("outputs of boards that speak text are checked by 'accuracy'")

    def scores(self, bundle: LiveBundle, inputs: Tensor) -> Tensor:
        """Raises NotCheckedError: what the board prints is compared by the check 'accuracy'."""
        raise NotCheckedError("outputs of boards that speak text are checked by 'accuracy'")

    def costs(self, bundle: LiveBundle) -> dict[str, float]:
        """As of `OpenDevice`: the latency alone."""
        return {"latency_us": self.performance(bundle, _COST_WINDOWS, _COST_SECONDS).median_us}

    def performance(self, bundle: LiveBundle, windows: int, seconds: float) -> TextPerformance:
        """Of a random input."""
        values = random_inputs(self.ports(bundle).input, 1, 0)[0]
        return measure(self.line, values, windows=windows, seconds=seconds)

    def properties(self) -> dict[str, str]:
        """As of `OpenDevice`, as far as the dialect tells."""
        return {
            "board": self.told.vendor, "firmware": self.told.profile, "model": self.told.model,
            "address": self.table.port, "board_serial": self.table.serial or "unknown",
        }  # fmt: skip


def identity(table: MlperfTable, rig: Rig) -> str:
    """Its port, as of boards that speak the link: it may be the same board."""
    return f"port:{table.port if '://' in table.port else Path(table.port).resolve()}"


@contextlib.contextmanager
def opened(table: MlperfTable, rig: Rig) -> Iterator[TextDevice]:
    """Reset it where the rig file says how, then speak to it. Raises FirmwareError, PortError, LinkError."""
    if table.reset is not None:
        run_command(table.reset, f"device '{table.name}': reset")
    device = TextDevice(table, rig)
    with device:
        yield device
