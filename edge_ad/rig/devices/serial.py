"""Boards on a serial port."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from serial.tools import list_ports

from edge_ad.firmware_bridge.boards import find
from edge_ad.firmware_bridge.build import build_firmware
from edge_ad.firmware_bridge.connection import BoardAddress
from edge_ad.firmware_bridge.programming import PyocdProgrammer
from edge_ad.rig.config import Rig
from edge_ad.rig.devices.base import run_command
from edge_ad.rig.devices.board import WiredBoard
from edge_ad.rig.tables import SerialTable


class SerialBoard(WiredBoard):
    """A board on a serial port."""

    def serial(self) -> str:
        """The USB port's, which mostly is the board's."""
        port = self.connection.address.port
        assert port is not None
        for known in list_ports.comports():
            if known.serial_number and Path(known.device).resolve() == Path(port).resolve():
                return str(known.serial_number)
        return "unknown"


def identity(table: SerialTable, rig: Rig) -> str:
    """Its port, by whichever of its names: `/dev/serial/by-id/…` leads to the same device file."""
    return f"port:{table.port if '://' in table.port else Path(table.port).resolve()}"


@contextlib.contextmanager
def opened(table: SerialTable, rig: Rig) -> Iterator[SerialBoard]:
    """Program it where the rig file says how, then open its port.

    Raises UsageError for an unknown board, MissingDependencyError, FirmwareError, PortError, LinkError."""
    if table.program_command is not None:
        run_command(table.program_command, f"device '{table.name}': program_command")
    elif table.program is not None:
        board = find(table.program)
        PyocdProgrammer(table.probe).program(board, build_firmware(board), lambda share: None)
    address = BoardAddress(port=table.port, baud=table.baud)
    with SerialBoard(table, rig, address, reset=table.reset, power=table.power) as opened_board:
        yield opened_board
