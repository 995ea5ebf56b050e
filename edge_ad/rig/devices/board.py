"""Boards that speak the link, however they are reached: what their models, memory and power are asked and told."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator
from typing import Any

from edge_ad.bundle.manifest import Payload
from edge_ad.errors import UsageError
from edge_ad.firmware_bridge.client import BoardClient, Hello
from edge_ad.firmware_bridge.connection import BoardAddress, Connection
from edge_ad.firmware_bridge.flasher import flash_image, is_live, read_header
from edge_ad.firmware_bridge.port_spec import random_inputs
from edge_ad.rig.config import Rig
from edge_ad.rig.devices.base import OpenDevice, run_command
from edge_ad.rig.devices.power import power_off, power_on
from edge_ad.rig.tables import DeviceTable, PowerTable
from edge_ad.runtime.deployment import LiveBundle
from edge_ad.runtime.engines.base import Tensor
from edge_ad.runtime.engines.board import BoardEngine
from edge_ad.runtime.engines.image_ports import Ports
from edge_ad.runtime.golden import GoldenResult, check_golden
from edge_ad.runtime.recorded import score_inputs
from edge_ad.runtime.station.engines import payload_on

_TIMED = 15  # inferences


class BoardDevice(OpenDevice):
    """A board over the link. connection: open; after power was cut, `power_on` opens it anew."""

    def __init__(self, table: DeviceTable, rig: Rig, address: BoardAddress):
        super().__init__(table, rig)
        self.connection: Connection = self._held.enter_context(Connection(address))

    @property
    def client(self) -> BoardClient:
        """The open line's."""
        return self.connection.client

    def payload(self, bundle: LiveBundle) -> Payload:
        """The bundle's payload for this board. Raises SchemaError where it has none."""
        return payload_on(bundle.manifest, self.table.target, self.connection)

    def image(self, bundle: LiveBundle) -> bytes:
        """Its model image."""
        return (bundle.folder / self.payload(bundle).model).read_bytes()

    def ports(self, bundle: LiveBundle) -> Ports:
        """Its input and outputs."""
        options = self.payload(bundle).options
        return Ports.of(options["input"], options["outputs"])

    def differs(self, bundle: LiveBundle) -> str | None:
        """As of `OpenDevice`: by length and CRC of the whole image, which the board checks when it starts."""
        header = read_header(self.image(bundle))
        hello = self.connection.hello = self.client.hello()
        if is_live(hello, header):
            return None
        if hello.live_slot is None:
            return "no model is live"
        return (
            f"another model is live: image {hello.live_crc:08x}, {hello.live_length:,} bytes, "
            f"the bundle's is {header.crc:08x}, {header.length:,} bytes"
        )

    def flash(self, bundle: LiveBundle) -> None:
        """As of `OpenDevice`."""
        self.connection.hello = flash_image(self.client, self.image(bundle)).hello

    def prove(self, bundle: LiveBundle) -> GoldenResult:
        """As of `OpenDevice`."""
        with self.engine(bundle) as engine:
            return check_golden(self.payload(bundle), bundle.folder, engine)

    def scores(self, bundle: LiveBundle, inputs: Tensor) -> Tensor:
        """As of `OpenDevice`."""
        with self.engine(bundle) as engine:
            return score_inputs(self.payload(bundle), engine, inputs)

    def costs(self, bundle: LiveBundle) -> dict[str, float]:
        """As of `OpenDevice`, after a restart, since the stack's high-water mark counts from there. Instructions where
        the board can tell them, else the median time; never both: a board of QEMU's has no time of its own."""
        ports = self.ports(bundle)
        values = random_inputs(ports.input, 1, 0)[0]
        with self.counting() as counts:
            if not counts:
                self.reset()
            ran = []
            for _ in range(1 if counts else _TIMED):
                self.client.set_input(0, values)
                ran.append(self.client.run())
            status, hello = self.client.status(), self.client.hello()
        found: dict[str, float] = {
            "flash_bytes": hello.live_length,
            "ram_bytes": status.arena_used + status.static_bytes,
        }
        if status.stack_bytes:
            found["stack_bytes"] = status.stack_used
        if counts and ran[0].instructions is not None:
            found["instructions"] = ran[0].instructions
        elif all(one.ticks_hz for one in ran):
            found["latency_us"] = statistics.median(one.ticks * 1e6 / one.ticks_hz for one in ran)
        return found

    def properties(self) -> dict[str, str]:
        """As of `OpenDevice`."""
        hello = self.connection.hello
        found = {"board": hello.board, "firmware": hello.build, "kernels": hello.kernels}
        found |= {"address": str(self.connection.address), "board_serial": self.table.serial or self.serial()}
        return found

    def serial(self) -> str:
        """The board's serial number, as far as it can be told."""
        return "unknown"

    @contextlib.contextmanager
    def engine(self, bundle: LiveBundle) -> Iterator[BoardEngine]:
        """The bundle's engine there; the bundle has to be live. Raises EngineError."""
        payload = self.payload(bundle)
        engine = BoardEngine(bundle.folder / payload.model, connection=self.connection, **payload.options)
        try:
            yield engine
        finally:
            engine.close()

    def infer_raw(self, values: bytes, ports: Ports) -> list[bytes]:
        """The bytes of all outputs for the bytes of the input."""
        self.client.set_input(0, values)
        self.client.run()
        return [self.client.output(i, spec.nbytes) for i, spec in enumerate(ports.outputs.values())]

    def reset(self) -> Hello:
        """Have it restart."""
        return self.client.reboot()

    @contextlib.contextmanager
    def over(self, wrap: Callable[[Any], Any]) -> Iterator[None]:
        """The line through another port that `wrap` makes of the open one; as it was behind that."""
        self.connection.reconnect(wrap=wrap)
        try:
            yield
        finally:
            self.connection.reconnect()

    @contextlib.contextmanager
    def counting(self) -> Iterator[bool]:
        """With instructions counted, where it can; whether it does."""
        yield False

    def power_cut(self) -> None:
        """Cut its power, at this moment as far as the switch allows it."""
        raise UsageError("its power cannot be cut", where=f"device '{self.table.name}'")

    def power_on(self) -> Hello:
        """Give it power again, and wait until it answers."""
        raise UsageError("its power cannot be cut", where=f"device '{self.table.name}'")

    @property
    def has_power_switch(self) -> bool:
        """Whether its power can be cut."""
        return False


class EmulatedBoard(BoardDevice):
    """A board without hardware, whose power is its process."""

    has_power_switch = True

    def serial(self) -> str:
        """As of `BoardDevice`."""
        return "emulated"

    def power_cut(self) -> None:
        """Kill it, with its flash as it is."""
        assert self.connection.emulator is not None
        self.connection.emulator.cut_power()

    def power_on(self) -> Hello:
        """Start it with that flash."""
        assert self.connection.emulator is not None
        self.connection.emulator.restart()
        return self.connection.reconnect()

    @contextlib.contextmanager
    def counting(self) -> Iterator[bool]:
        """QEMU counts exactly and is then slower, so it does for as long as asked."""
        emulator = self.connection.emulator
        assert emulator is not None
        if emulator.board.machine is None:
            yield False
            return
        self._again(count=True)
        try:
            yield True
        finally:
            self._again(count=False)

    def _again(self, *, count: bool) -> None:
        emulator = self.connection.emulator
        assert emulator is not None
        emulator.cut_power()
        emulator.restart(count=count)
        self.connection.reconnect()


class WiredBoard(BoardDevice):
    """A real board: reset and power are the user's commands or relay."""

    def __init__(
        self, table: DeviceTable, rig: Rig, address: BoardAddress, *, reset: list[str] | None, power: PowerTable | None
    ):  # fmt: skip
        super().__init__(table, rig, address)
        self._reset = reset
        self._power = power

    @property
    def has_power_switch(self) -> bool:
        """As of `BoardDevice`."""
        return self._power is not None

    def reset(self) -> Hello:
        """By the user's command, else by the link."""
        if self._reset is None:
            return super().reset()
        run_command(self._reset, f"device '{self.table.name}': reset")
        return self.connection.reconnect()

    def power_cut(self) -> None:
        """As of `BoardDevice`. Raises UsageError without a switch, FirmwareError, PortError."""
        power_off(self._power, self.table.name)

    def power_on(self) -> Hello:
        """As of `BoardDevice`."""
        self.connection.disconnect()  # a USB port goes with its board's power
        power_on(self._power, self.table.name)
        return self.connection.reconnect()
