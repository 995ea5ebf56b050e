"""What QEMU's boards give the firmware: faults that are told of after a restart, a watchdog, flash, stack, UART."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Iterator

import board_images
import pytest

pytestmark = pytest.mark.skipif(
    board_images.missing() is not None, reason=f"{board_images.missing()} is not installed"
)
POWER, REQUEST, WATCHDOG, FAULT = range(4)
BUS_FAULT, USAGE_FAULT = 5, 6
ABSENT = (0x18000000, 0xDFFFFFFC)  # mps3, mps2


class Board:
    """A running board: letters in, lines of a name and numbers out."""

    def __init__(self, machine: str):
        elf = board_images.build(machine, "board_port_check.c", "-DWATCHDOG_SECONDS=1")
        self._qemu = subprocess.Popen(
            ["qemu-system-arm", "-M", machine, "-display", "none", "-monitor", "none", "-serial", "stdio", "-kernel",
             str(elf)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        )  # fmt: skip

    def line(self, name: str, seconds: float = 20) -> list[int]:
        assert self._qemu.stdout is not None
        text, deadline = b"", time.monotonic() + seconds
        while not text.endswith(b"\n"):
            assert select.select([self._qemu.stdout], [], [], max(0, deadline - time.monotonic()))[0], text
            text += self._qemu.stdout.read(1)
        got, *numbers = text.decode().split()
        assert got == name
        return [int(n) for n in numbers]

    def ask(self, letters: bytes) -> None:
        assert self._qemu.stdin is not None
        self._qemu.stdin.write(letters)

    def close(self) -> None:
        self._qemu.kill()
        self._qemu.communicate()


@pytest.fixture(params=list(board_images.MACHINES))
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    running = Board(request.param)
    assert running.line("start")[:3] == [POWER, 1, 0]
    yield running
    running.close()


def test_a_fault_is_told_of_after_the_restart(board: Board) -> None:
    board.ask(b"f")
    cause, boots, kind, pc, _lr, address, fault_boots = board.line("start")
    assert (cause, boots, kind, fault_boots) == (FAULT, 2, BUS_FAULT, 1)
    assert address in ABSENT and 0 < pc < 1 << 20
    board.ask(b"z")
    cause, boots, kind, pc, *_, fault_boots = board.line("start")
    assert (cause, boots, kind, fault_boots) == (FAULT, 3, USAGE_FAULT, 2) and 0 < pc < 1 << 20


def test_a_stack_that_overflows_is_a_fault(board: Board) -> None:
    board.ask(b"o")
    cause, boots, kind, *_ = board.line("start")
    assert (cause, boots) == (FAULT, 2) and kind in (3, BUS_FAULT, USAGE_FAULT)


def test_restarts_are_told_apart(board: Board) -> None:
    board.ask(b"r")
    assert board.line("start")[:3] == [REQUEST, 2, 0]
    board.ask(b"h")  # hangs, and nobody says that all is well
    assert board.line("start")[:3] == [WATCHDOG, 3, 0]


def test_an_idle_board_is_well(board: Board) -> None:
    with pytest.raises(AssertionError):  # nothing is said for twice as long as the watchdog waits
        board.line("start", seconds=2)
    board.ask(b"l")
    assert len(board.line("slots")) == 12


def test_slots_behave_as_flash(board: Board) -> None:
    board.ask(b"l")
    assert board.line("slots") == [1, 0xFF, 1, 0x0F, 1, 0x05, 0, 0x05, 0, 0, 0, 1]


def test_the_deepest_stack_is_known(board: Board) -> None:
    board.ask(b"s")
    before, after, size = board.line("stack")
    assert 0 < before < 1500 and before + 50 * 64 < after < size


def test_no_byte_is_lost_while_the_firmware_is_busy(board: Board) -> None:
    sent = bytes(i * 31 % 256 for i in range(20000))
    board.ask(b"u" + sent)
    assert board.line("sum") == [sum((i + 1) * b for i, b in enumerate(sent)) % (1 << 32)]
