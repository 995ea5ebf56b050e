"""Reaching a board by what the user calls it: `--board qemu:mps2-an386` or `posix`, or `--port /dev/ttyACM0`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from edge_ad.errors import FirmwareError, PortError, UsageError
from edge_ad.firmware_bridge.boards import BOARDS, Board, emulated
from edge_ad.firmware_bridge.client import BoardClient, Hello, open_client
from edge_ad.firmware_bridge.emulator import Emulator
from edge_ad.firmware_bridge.frames import Frame
from edge_ad.firmware_bridge.ports import DEFAULT_BAUD

_START_S = 20.0
_AGAIN_S = 0.1


@dataclass(frozen=True)
class BoardAddress:
    """Where a board is: exactly one of `board` (emulated) and `port`. state: where emulated boards keep their flash.

    count: exact instruction counts of a QEMU board, which then runs several times slower. firmware: an ELF file for an
    emulated board, in place of this version's.
    """

    board: str | None = None
    port: str | None = None
    baud: int = DEFAULT_BAUD
    state: Path | None = None
    count: bool = False
    firmware: Path | None = None

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

    def __init__(self, address: BoardAddress, *, unasked: Callable[[Frame], None] | None = None):
        """unasked: called with each frame that is no answer: events, logs. Raises PortError, LinkError, FirmwareError,
        MissingDependencyError, UsageError."""
        self.address = address
        self._unasked = unasked
        with contextlib.ExitStack() as opened:
            self.emulator = None
            if address.board is not None:
                board = emulated(address.board)
                count = address.count and board.machine is not None
                self.emulator = opened.enter_context(
                    Emulator(board, state=address.state, count=count, firmware=address.firmware)
                )
            self.client: BoardClient = self._open()
            opened.callback(lambda: self.client.close())
            self.hello: Hello = self.client.hello(deadline_s=_START_S)
            self._opened = opened.pop_all()

    def _open(self, wrap: Callable[[Any], Any] | None = None) -> BoardClient:
        url = self.emulator.url if self.emulator is not None else self.address.port
        assert url is not None
        return open_client(url, self.address.baud, unasked=self._unasked, wrap=wrap)

    def disconnect(self) -> None:
        """Close the line, and leave the board as it is; `reconnect` opens it again."""
        self.client.close()

    def reconnect(self, *, wrap: Callable[[Any], Any] | None = None, deadline_s: float = _START_S) -> Hello:
        """Open the line anew, e.g. after the board's power was cut, and ask who is there. wrap: makes another port of
        the open one, as `edge_ad.firmware_bridge.faults` does. Raises PortError, LinkError."""
        self.client.close()
        end = time.monotonic() + deadline_s
        while True:
            try:
                self.client = self._open(wrap)
                break
            except PortError:  # a USB port comes back some time after its board's power
                if time.monotonic() >= end:
                    raise
                time.sleep(_AGAIN_S)
        self.hello = self.client.hello(deadline_s=deadline_s)
        return self.hello

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the line, and stop an emulated board, whose flash is kept."""
        self._opened.close()

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
