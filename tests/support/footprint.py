"""What an emitted model costs by itself on a board: engine, port and model, linked and run in QEMU."""

from __future__ import annotations

import re
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import board_images


@dataclass(frozen=True)
class Footprint:
    """Bytes. flash: code, constants and model. arena; static: other variables; stack: at most used. instructions: of an
    inference."""

    flash: int
    arena: int
    static: int
    stack: int
    instructions: int

    @property
    def ram(self) -> int:
        return self.arena + self.static + self.stack


def footprint(emitted: Path, machine: str, arena: int) -> Footprint:
    """Of the sources that `--emit-c` wrote, with the flags that model.h tells. The port's receive ring, which nothing
    here needs, has 16 bytes. Raises AssertionError where they do not prove themselves there."""
    kernels = board_images.KERNEL_NUMBERS[board_images.MACHINES[machine].kernels]
    sources = sorted(map(str, emitted.rglob("*.c")))
    (built,) = re.findall(r"-DEDGE_BUILT=0x[0-9a-f]+ull", (emitted / "model.h").read_text())
    flags = (f"-DEDGE_KERNELS={kernels}", built, "-DEDGE_RING_BYTES=16u", f"-I{emitted}")
    elf = board_images.build(machine, "footprint.c", *flags, *sources)
    listing = subprocess.run(
        ["arm-none-eabi-size", "-A", elf], capture_output=True, text=True, check=True
    ).stdout
    sizes = {
        row[0]: int(row[1])
        for row in map(str.split, listing.splitlines())
        if len(row) == 3 and row[1].isdigit()
    }
    status, stack, instructions = _run(machine, elf)
    assert status == 0, f"the engine says {status}"
    flash = sum(sizes.get(name, 0) for name in (".text", ".ARM.exidx", ".data"))
    static = sum(sizes.get(name, 0) for name in (".data", ".bss", ".retained")) - arena
    return Footprint(flash, arena, static, stack, instructions)


def _run(machine: str, elf: Path) -> tuple[int, int, int]:
    command = ["qemu-system-arm", "-M", machine, "-display", "none", "-monitor", "none", "-serial", "stdio",
               "-icount", "shift=7,sleep=off", "-kernel", str(elf)]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as board:
        try:
            assert board.stdout is not None
            told = board.stdout.read(16)
        finally:
            board.kill()
    assert told[:4] == b"FOOT", told
    status, stack, instructions = struct.unpack("<3I", told[4:])
    return status, stack, instructions
