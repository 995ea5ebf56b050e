"""Building a board's firmware from the sources in this package, once for each state of them and what it shall hold."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

from edge_ad.errors import FirmwareError, MissingDependencyError
from edge_ad.firmware_bridge.boards import POSIX, Board
from edge_ad.firmware_bridge.parts import Parts, all_parts
from edge_ad.firmware_bridge.ports import DEFAULT_BAUD

FIRMWARE = Path(__file__).resolve().parent / "firmware"
_TOOLS = {
    "make": "apt-get install make",
    "cc": "apt-get install gcc libc6-dev",
    "arm-none-eabi-gcc": "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi",
}
_BUILD_S = 300
_LOADED = 1  # a segment's type, PT_LOAD

Dialect = Literal["link", "mlperf"]


def build_firmware(
    board: Board, parts: Parts | None = None, *, dialect: Dialect = "link", baud: int = DEFAULT_BAUD
) -> Path:
    """The ELF file of the board's firmware (a program of this machine for the POSIX board), kept in the user's cache.

    parts: what it shall hold; by default all there is. dialect: "mlperf" for one that speaks MLPerf Tiny's text from
    the start on (docs/mlperf.md). baud: of its UART.

    Raises MissingDependencyError naming the package of a compiler that is missing, FirmwareError with the compiler's
    first error otherwise.
    """
    if parts == all_parts():
        parts = None
    settings = [f"DIALECT={dialect}", f"BAUD={baud}"]
    held = "" if (dialect, baud) == ("link", DEFAULT_BAUD) else f"-{dialect}-{baud}"
    if parts is not None:
        settings += [f"BUILT={parts.mask:#x}ull", f"JUDGES={parts.judges:d}"]
        held += f"-{parts.mask:x}{'' if parts.judges else '-computes'}"
    out = cache_folder() / f"{board.name}-{sources_digest(board)}{held}"
    elf = out / "firmware.elf"
    if elf.exists():
        return elf
    for tool in ("make", "cc" if board.name == POSIX else "arm-none-eabi-gcc"):
        _require(tool, board)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".build-") as folder:
            made = Path(folder) / "out"
            made.mkdir()
            _make(board, made, settings)
            if not elf.exists():  # someone else may have built it meanwhile
                shutil.rmtree(out, ignore_errors=True)
                made.rename(out)
    except OSError as error:
        raise FirmwareError(
            f"the firmware cannot be built there ({error.strerror})", where=out.parent,
            hint="set XDG_CACHE_HOME to a folder that you may write to",
        ) from error  # fmt: skip
    return elf


def flash_bytes(elf: Path) -> int:
    """Code, constants and initial values of a microcontroller's ELF file: what it takes of the flash. Raises
    FirmwareError for another file."""
    raw = elf.read_bytes()
    try:
        if raw[:5] != b"\x7fELF\x01":
            raise ValueError
        (at,), (size, count) = struct.unpack_from("<I", raw, 28), struct.unpack_from("<HH", raw, 42)
        segments = [struct.unpack_from("<8I", raw, at + i * size) for i in range(count)]
    except (ValueError, struct.error) as error:
        raise FirmwareError("is no firmware of a microcontroller", where=elf) from error
    return sum(stored for kind, _, _, _, stored, *_ in segments if kind == _LOADED)


def cache_folder() -> Path:
    """Where built firmware is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-ad" / "firmware"


def sources_digest(board: Board) -> str:
    """16 hexadecimal digits that stand for the firmware's sources, and the compiler that the user chose."""
    digest = hashlib.sha256(f"{board.name} {board.kernels} {os.environ.get('CC', '')}".encode())
    for path in sorted(p for p in FIRMWARE.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(FIRMWARE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _require(tool: str, board: Board) -> None:
    if shutil.which(os.environ.get("CC", tool) if tool == "cc" else tool) is None:
        raise MissingDependencyError(
            f"building the firmware of '{board.name}' needs {tool}", hint=_TOOLS[tool]
        )


def _make(board: Board, out: Path, settings: list[str]) -> None:
    command = [
        "make",
        "-s",
        "-C",
        str(FIRMWARE),
        f"BOARD={board.name}",
        f"OUT={out}",
        f"KERNELS={board.kernels}",
        *settings,
    ]
    # No flags of a make that we may have been started by.
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=_BUILD_S)
    except subprocess.TimeoutExpired as error:
        raise FirmwareError(
            f"building the firmware of '{board.name}' takes longer than {_BUILD_S} s"
        ) from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        first = next(
            (line for line in lines if "error" in line.lower()), lines[0] if lines else "make failed"
        )
        raise FirmwareError(f"the firmware of '{board.name}' does not build: {first}")
    if not (out / "firmware.elf").exists():
        raise FirmwareError(f"building the firmware of '{board.name}' left no firmware.elf", where=out)
