"""The boards that this project has firmware for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from edge_ad.errors import UsageError

POSIX = "posix"
EMULATED = ("qemu:", POSIX)


@dataclass(frozen=True)
class Board:
    """A board.

    name: as its firmware says it in HELLO, and BOARD of the firmware's Makefile. target, kernels: what is compiled
    for it. flash_bytes, ram_bytes: of the chip, or what the board uses of an emulated one. slot_bytes: most that an
    image may have. arena_bytes: memory for activations. firmware_bytes: room for the firmware in flash.
    reserved_bytes: memory for everything but the arena, the stack among it. machine: QEMU's name, None for real and
    POSIX boards. slots: where both model slots lie in memory and how many bytes they have together, for the
    emulator. chip: what pyocd calls it, for real boards. run: whether anyone has run it.
    """

    name: str
    title: str
    target: str
    kernels: Literal["plain", "dsp", "mve"]
    flash_bytes: int
    ram_bytes: int
    slot_bytes: int
    arena_bytes: int
    firmware_bytes: int
    reserved_bytes: int
    machine: str | None = None
    slots: tuple[int, int] = (0, 0)
    chip: str | None = None
    run: bool = True

    @property
    def address(self) -> str:
        """How `--board` names it, for those that are emulated."""
        return f"qemu:{self.machine}" if self.machine else self.name


_KI, _MI = 1 << 10, 1 << 20

BOARDS = (
    Board("posix", "a process on this machine", "posix", "plain", flash_bytes=4 * _MI, ram_bytes=17 * _MI,
          slot_bytes=2 * _MI - 4 * _KI, arena_bytes=16 * _MI, firmware_bytes=64 * _KI, reserved_bytes=64 * _KI),
    Board("mps2-an386", "Arm MPS2, Cortex-M4F (QEMU)", "cortex-m4", "dsp", flash_bytes=3 * _MI, ram_bytes=20 * _MI,
          slot_bytes=_MI - 4 * _KI, arena_bytes=16 * _MI, firmware_bytes=64 * _KI, reserved_bytes=32 * _KI,
          machine="mps2-an386", slots=(0x00200000, 2 * _MI)),
    Board("mps2-an500", "Arm MPS2, Cortex-M7 (QEMU)", "cortex-m7", "dsp", flash_bytes=3 * _MI, ram_bytes=20 * _MI,
          slot_bytes=_MI - 4 * _KI, arena_bytes=16 * _MI, firmware_bytes=64 * _KI, reserved_bytes=32 * _KI,
          machine="mps2-an500", slots=(0x00200000, 2 * _MI)),
    Board("mps3-an547", "Arm MPS3, Cortex-M55 with MVE (QEMU)", "cortex-m55", "mve", flash_bytes=8 * _MI,
          ram_bytes=4 * _MI, slot_bytes=4 * _MI - 4 * _KI, arena_bytes=4 * _MI, firmware_bytes=64 * _KI,
          reserved_bytes=32 * _KI, machine="mps3-an547", slots=(0x60000000, 8 * _MI)),
    Board("nucleo-h743zi2", "ST NUCLEO-H743ZI2, Cortex-M7 (built, never run)", "cortex-m7", "dsp",
          flash_bytes=2 * _MI, ram_bytes=640 * _KI, slot_bytes=384 * _KI, arena_bytes=512 * _KI,
          firmware_bytes=128 * _KI, reserved_bytes=32 * _KI, chip="stm32h743xx", run=False),
    Board("nrf52840-dk", "Nordic nRF52840-DK, Cortex-M4F (built, never run)", "cortex-m4", "dsp",
          flash_bytes=_MI, ram_bytes=256 * _KI, slot_bytes=444 * _KI, arena_bytes=192 * _KI,
          firmware_bytes=128 * _KI, reserved_bytes=24 * _KI, chip="nrf52840", run=False),
)  # fmt: skip


def find(name: str) -> Board:
    """The board called `name`. Raises UsageError that lists the known ones."""
    for board in BOARDS:
        if board.name == name:
            return board
    known = [board.name for board in BOARDS]
    near = difflib.get_close_matches(name, known, n=1)
    raise UsageError(
        f"unknown board '{name}'",
        hint=f"{f'did you mean {near[0]}? ' if near else ''}known: {', '.join(known)}",
    )


def emulated(address: str) -> Board:
    """The board of `--board`: `posix` or `qemu:MACHINE`. Raises UsageError that lists the known ones."""
    for board in BOARDS:
        if board.address == address and (board.machine or board.name == POSIX):
            return board
    known = [b.address for b in BOARDS if b.machine or b.name == POSIX]
    raise UsageError(
        f"unknown emulated board '{address}'", hint=f"known: {', '.join(known)}; a real one has a --port"
    )


def of_target(target: str) -> list[Board]:
    """The boards that a target's payload runs on."""
    return [board for board in BOARDS if board.target == target]
