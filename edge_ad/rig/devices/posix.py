"""The firmware as a process of this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from edge_ad.rig.config import Rig
from edge_ad.rig.devices.board import EmulatedBoard
from edge_ad.rig.devices.qemu import address, identity
from edge_ad.rig.tables import PosixTable

__all__ = ["identity", "opened"]


@contextlib.contextmanager
def opened(table: PosixTable, rig: Rig) -> Iterator[EmulatedBoard]:
    """Start it. Raises MissingDependencyError without a C compiler, FirmwareError, LinkError."""
    with EmulatedBoard(table, rig, address("posix", table, rig)) as board:
        yield board
