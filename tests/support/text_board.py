"""The firmware in memory, under the sanitizers: bytes in, bytes out, thousands of times a second (text_board.c)."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import struct
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from types import TracebackType

import pytest

from edge_ad.firmware_bridge.build import FIRMWARE

_FLAGS = [
    "-std=gnu11", "-g", "-O1", "-ffp-contract=off", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
    "-iquote", str(FIRMWARE),
]  # fmt: skip
_ANEW = struct.pack("<I", 0xFFFFFFFF)
DIALECTS = {"link": 0, "mlperf": 1}


@lru_cache
def build(dialect: str) -> Path:
    """The program, made once; skips the test without a compiler."""
    if shutil.which("cc") is None:
        pytest.skip("needs cc (scripts/setup.sh installs it)")
    folder = _engine()
    sources = [
        p for pattern in ("link/*.c", "*.c") for p in sorted(FIRMWARE.glob(pattern)) if p.name != "main.c"
    ]
    sources.append(Path(__file__).with_name("text_board.c"))
    program = folder / f"text-board-{dialect}"
    objects = sorted(folder.glob("*.o"))
    _compile(
        f"-DEDGE_DIALECT={DIALECTS[dialect]}",
        *map(str, [*sources, *objects]),
        "-o",
        str(program),
        folder=folder,
    )
    return program


@lru_cache
def _engine() -> Path:
    """A folder with the objects of the engine, which is the same whatever the firmware speaks."""
    folder = Path(tempfile.mkdtemp(prefix="edge-ad-text-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _compile(
        "-c", *map(str, [*FIRMWARE.glob("engine/*.c"), *FIRMWARE.glob("engine/kernels/*.c")]), folder=folder
    )
    return folder


def _compile(*arguments: str, folder: Path) -> None:
    done = subprocess.run(["cc", *_FLAGS, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(raw)
            self._process.stdin.flush()
        head = self._process.stdout.read(4)
        if len(head) < 4:
            assert self._process.stderr is not None
            pytest.fail(self._process.stderr.read().decode(errors="replace")[-3000:])
        return self._process.stdout.read(struct.unpack("<I", head)[0])
