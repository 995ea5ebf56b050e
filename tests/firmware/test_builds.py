"""The firmware builds for every board without a warning, and leaves the flash to models."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edge_ad.firmware_bridge.boards import BOARDS, Board
from edge_ad.firmware_bridge.build import FIRMWARE

MOST_TEXT_BYTES = 64 << 10
MOST_LEAN_BYTES = (11_000, 17_000)  # with one operator; without and with the monitor
MOST_LEAN_STATIC_BYTES = 5_500


@pytest.mark.parametrize("board", BOARDS, ids=lambda b: b.name)
def test_every_board_builds(board: Board, tmp_path: Path) -> None:
    compiler = "cc" if board.name == "posix" else "arm-none-eabi-gcc"
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    elf = tmp_path / "firmware.elf"
    command = ["make", "-s", "-C", str(FIRMWARE), f"BOARD={board.name}", "EXTRA=-Werror", f"OUT={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    if board.name != "posix":
        sizes = subprocess.run(["arm-none-eabi-size", str(elf)], capture_output=True, text=True, check=True)
        text, data, bss = map(int, sizes.stdout.splitlines()[1].split()[:3])
        assert text + data < MOST_TEXT_BYTES
        assert data + bss <= board.reserved_bytes
        assert text + data <= board.firmware_bytes
    again = tmp_path / "again"
    subprocess.run([*command[:-1], f"OUT={again}"], check=True)
    assert (again / "firmware.elf").read_bytes() == elf.read_bytes()


@pytest.mark.parametrize(("name", "judges"), [("posix", 0), ("mps3-an547", 1), ("nrf52840-dk", 0)])
def test_lean_firmware_builds_without_a_warning_and_is_small(name: str, judges: int, tmp_path: Path) -> None:
    """One operator: what is left is what every lean firmware has."""
    if shutil.which("cc" if name == "posix" else "arm-none-eabi-gcc") is None:
        pytest.skip("the compiler is not installed")
    command = ["make", "-s", "-C", str(FIRMWARE), f"BOARD={name}", "BUILT=0x1ull", f"JUDGES={judges}", "EXTRA=-Werror",
               f"OUT={tmp_path}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    if name != "posix":
        listing = subprocess.run(
            ["arm-none-eabi-size", "-A", str(tmp_path / "firmware.elf")],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        sizes = {
            row[0]: int(row[1])
            for row in map(str.split, listing.splitlines())
            if row[2:] and row[1].isdigit()
        }
        assert sizes[".text"] < MOST_LEAN_BYTES[judges]
        assert sizes[".bss"] < MOST_LEAN_STATIC_BYTES


@pytest.mark.parametrize("board", [b for b in BOARDS if b.name != "posix"], ids=lambda b: b.name)
def test_the_firmware_that_answers_in_text_fits_as_well(board: Board, tmp_path: Path) -> None:
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    settings = [f"BOARD={board.name}", "DIALECT=mlperf", "BAUD=921600", "EXTRA=-Werror", f"OUT={tmp_path}"]
    done = subprocess.run(["make", "-s", "-C", str(FIRMWARE), *settings], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    command = ["arm-none-eabi-size", str(tmp_path / "firmware.elf")]
    sizes = subprocess.run(command, capture_output=True, text=True, check=True)
    text, data, bss = map(int, sizes.stdout.splitlines()[1].split()[:3])
    assert text + data <= board.firmware_bytes and data + bss <= board.reserved_bytes
