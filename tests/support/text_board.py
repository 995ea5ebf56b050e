"""The firmware in memory, under the sanitizers: bytes in, bytes out, thousands of times a second (text_board.c)."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from types import TracebackType

import pytest

from edge_ad.firmware_bridge.build import FIRMWARE

_FLAGS = [
    "-std=gnu11", "-g", "-O1", "-ffp-contract=off", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-iquote",
    str(FIRMWARE),
]  # fmt: skip
_ANEW = struct.pack("<I", 0xFFFFFFFF)
DIALECTS = {"link": 0, "mlperf": 1}


def build(folder: Path, dialect: str) -> Path:
    """The program; skips the test without a compiler."""
    if shutil.which("cc") is None:
        pytest.skip("needs cc (scripts/setup.sh installs it)")
    program = folder / f"text-board-{dialect}"
    sources = [p for pattern in ("engine/*.c", "engine/kernels/*.c", "link/*.c", "*.c") for p in FIRMWARE.glob(pattern)]
    sources = sorted(p for p in sources if p.name != "main.c")
    command = ["cc", *_FLAGS, f"-DEDGE_DIALECT={DIALECTS[dialect]}", "-o", str(program)]
    command += [str(Path(__file__).with_name("text_board.c")), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


class TextBoard:
    """A started board; a context manager that ends it."""

    def __init__(self, program: Path, image: Path):
        self._process = subprocess.Popen(
            [str(program), str(image)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __enter__(self) -> TextBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def start(self) -> bytes:
        """Start anew; what the board says then."""
        return self._exchange(_ANEW)

    def take(self, piece: bytes) -> bytes:
        """What it sends for these bytes. Fails the test with the sanitizer's words when the board has died."""
        return self._exchange(struct.pack("<I", len(piece)) + piece)

    def _exchange(self, raw: bytes) -> bytes:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(raw)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        head = self._process.stdout.read(4)
        if len(head) < 4:
            assert self._process.stderr is not None
            pytest.fail(self._process.stderr.read().decode(errors="replace")[-3000:])
        return self._process.stdout.read(struct.unpack("<I", head)[0])
