"""labgrid's side of a rig: a resource and a driver, for `imports: [edge_ad.rig.labgrid]` in an environment file.

labgrid brings a `serial` of its own (pyserial-labgrid), which overwrites pyserial's: it has to be installed in an
environment of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attr
from labgrid.driver import Driver
from labgrid.exceptions import NoDriverFoundError
from labgrid.factory import target_factory
from labgrid.resource import NetworkSerialPort, Resource
from labgrid.util.proxy import proxymanager

from edge_ad.errors import UsageError
from edge_ad.firmware_bridge.client import Hello
from edge_ad.firmware_bridge.connection import BoardAddress
from edge_ad.rig.config import Rig, load_rig
from edge_ad.rig.devices.board import BoardDevice
from edge_ad.rig.tables import DeviceTable, LabgridTable

_text = attr.validators.optional(attr.validators.instance_of(str))


@target_factory.reg_resource
@attr.s(eq=False)
class EdgeBoard(Resource):
    """A board with this project's firmware.

    payload: target of the bundle's payload that it runs, where that is not plain from what the board says. serial: its
    serial number, for results. board: as the firmware calls itself; another one that answers is an error.
    """

    payload = attr.ib(default=None, validator=_text)
    serial = attr.ib(default=None, validator=_text)
    board = attr.ib(default=None, validator=_text)


@target_factory.reg_driver
@attr.s(eq=False)
class EdgeBoardDriver(Driver):
    """Gives the board to a rig: `with driver.opened(rig) as device`. Its port must not be open elsewhere meanwhile.

    Power and reset are those drivers of the target that are there.
    """

    bindings = {  # noqa: RUF012 (labgrid's own way)
        "board": EdgeBoard,
        "port": {"SerialPort", "NetworkSerialPort"},
        "power": {"PowerProtocol", None},
        "resetter": {"ResetProtocol", None},
    }

    def switch(self) -> Any:
        """The target's power driver, None without one. labgrid binds what stands above it; below counts as well."""
        return self.power or self._of_target("PowerProtocol")

    def reset_switch(self) -> Any:
        """The target's reset driver, None without one."""
        return self.resetter or self._of_target("ResetProtocol")

    def _of_target(self, protocol: str) -> Any:
        try:
            return self.target.get_driver(protocol)
        except NoDriverFoundError:
            return None

    def url(self) -> str:
        """The port, for pyserial."""
        if not isinstance(self.port, NetworkSerialPort):
            return str(self.port.port)
        host, port = proxymanager.get_host_and_port(self.port)
        scheme = {"rfc2217": "rfc2217", "raw": "socket"}.get(self.port.protocol)
        if scheme is None:
            raise UsageError(f"labgrid's serial port speaks '{self.port.protocol}'", where=self.target.name)
        return f"{scheme}://{host}:{port}" + ("?ign_set_control" if scheme == "rfc2217" else "")

    def table(self, name: str | None = None) -> LabgridTable:
        """The device as a rig's, called `name` or as the target."""
        return LabgridTable(
            kind="labgrid", name=name or self.target.name, environment=Path(), role=self.target.name,
            target=self.board.payload, serial=self.board.serial,
        )  # fmt: skip

    @Driver.check_active
    @contextlib.contextmanager
    def opened(self, rig: Rig | Path | str, table: DeviceTable | None = None) -> Iterator[BoardDevice]:
        """The board as a device of a rig, which checks and fixtures take. rig: the file that paths and bundles are of.

        Raises PortError, LinkError, UsageError for another board than the resource's."""
        found = rig if isinstance(rig, Rig) else load_rig(Path(rig))
        device = _LabgridBoard(table or self.table(), found, self)
        with device:
            told = device.connection.hello.board
            if self.board.board is not None and told != self.board.board:
                raise UsageError(
                    f"'{told}' answers, the environment says '{self.board.board}'", where=self.target.name
                )
            yield device


class _LabgridBoard(BoardDevice):
    """A board whose power and reset are labgrid's."""

    def __init__(self, table: DeviceTable, rig: Rig, driver: EdgeBoardDriver):
        super().__init__(table, rig, BoardAddress(port=driver.url(), baud=driver.port.speed))
        self._driver = driver

    @property
    def has_power_switch(self) -> bool:
        """As of `BoardDevice`."""
        return self._driver.switch() is not None

    def reset(self) -> Hello:
        """By labgrid's reset, else by the link."""
        switch = self._driver.reset_switch()
        if switch is None:
            return super().reset()
        self.connection.disconnect()  # it may be a power cycle
        switch.reset()
        return self.connection.reconnect()

    def power_cut(self) -> None:
        """As of `BoardDevice`. Raises UsageError for a target without power driver."""
        self._switch().off()

    def power_on(self) -> Hello:
        """As of `BoardDevice`."""
        self.connection.disconnect()  # a USB port goes with its board's power
        self._switch().on()
        return self.connection.reconnect()

    def _switch(self) -> Any:
        switch = self._driver.switch()
        if switch is None:
            raise UsageError(
                "its power cannot be cut", where=f"device '{self.table.name}'",
                hint="add a power driver to labgrid's environment",
            )  # fmt: skip
        return switch
