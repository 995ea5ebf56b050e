"""Reaching a board by what the user calls it: `--board qemu:mps2-an386` or `posix`, or `--port /dev/ttyACM0`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from edge_ad.errors import FirmwareError, UsageError
from edge_ad.firmware_bridge.boards import BOARDS, Board, emulated
from edge_ad.firmware_bridge.client import BoardClient, Hello, open_client
from edge_ad.firmware_bridge.emulator import Emulator
from edge_ad.firmware_bridge.frames import Frame
from edge_ad.firmware_bridge.parts import Parts
from edge_ad.firmware_bridge.ports import DEFAULT_BAUD

_START_S = 20.0


@dataclass(frozen=True)
class BoardAddress:
    """Where a board is: exactly one of `board` (emulated) and `port`. state: where emulated boards keep their flash.

    count: exact instruction counts of a QEMU board, which then runs several times slower.
    """

    board: str | None = None
    port: str | None = None
    baud: int = DEFAULT_BAUD
    state: Path | None = None
    count: bool = False

    def __post_init__(self) -> None:
        if (self.board is None) == (self.port is None):
            raise UsageError(
                "say which board: --board qemu:mps2-an386, --board posix or --port /dev/ttyACM0, one of them"
            )

    def __str__(self) -> str:
        return self.board or self.port or ""


class Connection:
    """An open line to a board, which it starts and stops when it is emulated; a context manager.

    hello: what the board said of itself when the line was opened.
    """

    def __init__(
        self, address: BoardAddress, *, unasked: Callable[[Frame], None] | None = None, parts: Parts | None = None
    ):  # fmt: skip
        """unasked: called with each frame that is no answer: events, logs. parts: what an emulated board's firmware
        holds this time, and from `keep_firmware` on always.

        Raises PortError, LinkError, FirmwareError, MissingDependencyError, UsageError."""
        self.address = address
        with contextlib.ExitStack() as opened:
            url = address.port
            self.emulator = None
            if address.board is not None:
                board = emulated(address.board)
                self.emulator = opened.enter_context(
                    Emulator(
                        board,
                        state=address.state,
                        count=address.count and board.machine is not None,
                        parts=parts,
                    )
                )
                url = self.emulator.url
            assert url is not None
            self.client: BoardClient = opened.enter_context(open_client(url, address.baud, unasked=unasked))
            self.hello: Hello = self.client.hello(deadline_s=_START_S)
            self._opened = opened.pop_all()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the line, and stop an emulated board, whose flash is kept."""
        self._opened.close()

    def keep_firmware(self) -> None:
        """The firmware that an emulated board runs this time stays on it."""
        if self.emulator is not None:
            self.emulator.keep_parts()

    @property
    def board(self) -> Board:
        """The board that answers. Raises FirmwareError for one that this version does not know."""
        for board in BOARDS:
            if board.name == self.hello.board:
                return board
        raise FirmwareError(
            f"the board calls itself '{self.hello.board}', which this version does not know",
            where=str(self.address), hint="name the payload with --target",
        )  # fmt: skip
