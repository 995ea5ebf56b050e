"""Firmware with a fault in one operator (EDGE_PLANTED_FAULT of the engine)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from edge_ad.firmware_bridge.boards import emulated
from edge_ad.firmware_bridge.build import FIRMWARE


def faulty_firmware(folder: Path, address: str, operator: str, *, rare: int = 1) -> Path:
    """An ELF file for a board, whose `operator` gives a wrong byte; rare: for one tensor in about so many."""
    board, out = emulated(address), Path(_objects().name) / address.replace(":", "-")
    out.mkdir(exist_ok=True)
    for made in ("objects/engine/engine.o", "firmware.elf"):  # all else is the same for every fault
        (out / made).unlink(missing_ok=True)
    flags = f"-DEDGE_PLANTED_FAULT={operator} -DEDGE_PLANTED_RARE={rare}u"
    command = ["make", "-s", "-C", str(FIRMWARE), f"BOARD={board.name}", f"OUT={out}", f"EXTRA={flags}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return shutil.copy(out / "firmware.elf", folder / f"{operator}-{rare}.elf")


@lru_cache(maxsize=1)
def _objects() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="edge-ad-planted-")
