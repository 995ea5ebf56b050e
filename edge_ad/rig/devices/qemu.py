"""Boards of QEMU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from edge_ad.firmware_bridge.connection import BoardAddress
from edge_ad.rig.config import Rig
from edge_ad.rig.devices.board import EmulatedBoard
from edge_ad.rig.tables import PosixTable, QemuTable


def identity(table: QemuTable | PosixTable, rig: Rig) -> str:
    """Its folder of flash."""
    return f"state:{state(table, rig).resolve()}"


@contextlib.contextmanager
def opened(table: QemuTable, rig: Rig) -> Iterator[EmulatedBoard]:
    """Start it. Raises UsageError for an unknown machine, MissingDependencyError, FirmwareError, LinkError."""
    with EmulatedBoard(table, rig, address(f"qemu:{table.machine}", table, rig)) as board:
        yield board


def address(board: str, table: QemuTable | PosixTable, rig: Rig) -> BoardAddress:
    """Of an emulated board."""
    firmware = None if table.firmware is None else rig.resolve(table.firmware)
    return BoardAddress(board=board, state=state(table, rig), firmware=firmware)


def state(table: QemuTable | PosixTable, rig: Rig) -> Path:
    """Where it keeps its flash: what the rig file says, else a folder of this rig and device in the user's data."""
    if table.state is not None:
        return rig.resolve(table.state)
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "edge-ad" / "rigs" / rig.name / table.name
