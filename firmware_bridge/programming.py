"""Writing firmware to a real board for the first time, through its debug probe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edge_ad.errors import FirmwareError, MissingDependencyError
from edge_ad.firmware_bridge.boards import Board

Progress = Callable[[float], None]


class Programmer(Protocol):
    """Something that can write a board's flash."""

    def program(self, board: Board, firmware: Path, progress: Progress) -> None:
        """Write an ELF file and start it. progress: called with the share done, 0 to 1. Raises FirmwareError."""
        ...


class PyocdProgrammer:
    """Any CMSIS-DAP, ST-Link or J-Link probe, through pyocd. probe: its id, where several are connected."""

    def __init__(self, probe: str | None = None):
        self._probe = probe

    def program(self, board: Board, firmware: Path, progress: Progress) -> None:
        """Raises MissingDependencyError without pyocd, FirmwareError for a board that has no chip or no probe."""
        if board.chip is None:
            raise FirmwareError(
                f"'{board.name}' is no board to program", hint="emulated boards need no --program"
            )
        try:
            from pyocd.core.exceptions import Error
            from pyocd.core.helpers import ConnectHelper
            from pyocd.flash.file_programmer import FileProgrammer
        except ImportError as error:
            raise MissingDependencyError(
                "programming a board needs pyocd", hint="pip install 'edge-ad[boards]'"
            ) from error
        try:
            session = ConnectHelper.session_with_chosen_probe(
                blocking=False, return_first=True, unique_id=self._probe,
                options={"target_override": board.chip, "frequency": 4_000_000},
            )  # fmt: skip
            if session is None:
                raise FirmwareError(
                    "no debug probe is connected", where=board.name,
                    hint="connect the board's debug USB port; on Linux pyocd's udev rules give access to it",
                )  # fmt: skip
            with session:
                FileProgrammer(session, progress=progress).program(str(firmware), file_format="elf")
                session.target.reset()
        except Error as error:
            raise FirmwareError(f"the firmware cannot be written ({error})", where=board.name) from error
