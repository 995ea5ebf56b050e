"""Runs model images on QEMU's boards without the link: images and inputs in memory, outputs from the UART."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from edge_ad.compile.integer.image import Image
from edge_ad.firmware_bridge.host_library import ENGINE

FIRMWARE = ENGINE.parent
HERE = Path(__file__).resolve().parent
FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffunction-sections", "-fdata-sections",
         "-nostartfiles", "-Wl,--gc-sections"]  # fmt: skip
KERNEL_NUMBERS = {"plain": 0, "dsp": 1, "mve": 2}


@dataclass(frozen=True)
class Machine:
    """A board of QEMU: name, folder of its port, kernel set, the compiler's flags, where images are put."""

    name: str
    port: str
    kernels: str
    flags: tuple[str, ...]
    memory: int


MACHINES = {
    m.name: m
    for m in (
        Machine("mps2-an386", "mps2", "dsp",
                ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"), 0x200000),
        Machine("mps2-an500", "mps2", "dsp",
                ("-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-d16"), 0x200000),
        Machine("mps3-an547", "mps3", "mve", ("-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard"), 0x60000000),
    )
}  # fmt: skip


def missing() -> str | None:
    """Which tool is not installed, if any."""
    return next((t for t in ("qemu-system-arm", "arm-none-eabi-gcc") if shutil.which(t) is None), None)


def kernel_sources(kernels: str) -> list[Path]:
    """The set's own file of an operator where there is one, else the plain one."""
    chosen = {f.name: f for f in (ENGINE / "kernels").glob("*.c")}
    chosen |= {f.name: f for f in (ENGINE / "kernels" / kernels).glob("*.c")}
    return sorted(chosen.values())


def firmware(machine: str, kernels: str | None = None) -> Path:
    """The ELF file of the firmware that runs images."""
    kernels = kernels or MACHINES[machine].kernels
    define = f"-DEDGE_KERNELS={KERNEL_NUMBERS[kernels]}"
    small = _compiled_for_size()
    engine = [*ENGINE.glob("*.c"), *(f for f in kernel_sources(kernels) if f.stem not in small)]
    objects = [_object(machine, f, define) for f in kernel_sources(kernels) if f.stem in small]
    return build(machine, "board_images.c", define, *sorted(map(str, engine)), *map(str, objects))


def _compiled_for_size() -> list[str]:
    """Kernels for which the firmware's Makefile says so."""
    lines = (FIRMWARE / "Makefile").read_text().splitlines()
    (found,) = [line.partition(":=")[2].split() for line in lines if line.startswith("SMALL :=")]
    return found


def _object(machine: str, source: Path, define: str) -> Path:
    """A kernel as the firmware has it, compiled for size."""
    out = Path(tempfile.mkstemp(dir=_folder().name, suffix=".o")[1])
    command = [
        "arm-none-eabi-gcc",
        *MACHINES[machine].flags,
        *FLAGS[:-2],
        "-Os",
        define,
        "-c",
        str(source),
        "-o",
        str(out),
    ]
    subprocess.run(command, check=True)
    return out


@cache
def build(machine: str, main: str, *arguments: str) -> Path:
    """The ELF file of `main` (of this folder) for a machine, in a temporary folder that goes with this process."""
    board, ports = MACHINES[machine], FIRMWARE / "ports"
    out = Path(tempfile.mkstemp(dir=_folder().name, suffix=".elf")[1])
    sources = [HERE / main, ports / "cortex_m" / "startup.c", ports / board.port / "port.c"]
    places = [
        f"-iquote{ports / board.port}",
        f"-L{ports / 'cortex_m'}",
        f"-T{ports / board.port / f'{machine}.ld'}",
    ]
    command = [
        "arm-none-eabi-gcc",
        *board.flags,
        *FLAGS,
        *places,
        *arguments,
        *map(str, sources),
        "-o",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@lru_cache(maxsize=1)
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="edge-ad-boards-")


@dataclass(frozen=True)
class Result:
    """status: the engine's. outputs: bytes of each vector's outputs; instructions: of each vector, 0 if not counted."""

    status: int
    outputs: list[np.ndarray]
    instructions: list[int]


def run_on(
    machine: str, cases: list[tuple[Image, list[np.ndarray]]], *, kernels: str | None = None, count: bool = False,
    timeout_s: float = 60,
) -> list[Result]:  # fmt: skip
    """Each image on each of its input vectors (all inputs, flat, one after the other). count: instructions too."""
    board, elf = MACHINES[machine], firmware(machine, kernels)
    with tempfile.TemporaryDirectory() as folder:
        blob = Path(folder) / "cases.bin"
        blob.write_bytes(_memory(cases))
        command = ["qemu-system-arm", "-M", machine, "-display", "none", "-monitor", "none", "-serial", "stdio",
                   "-kernel", str(elf), "-device",
                   f"loader,file={blob},addr={board.memory:#x},force-raw=on"]  # fmt: skip
        command += ["-icount", "shift=7,sleep=off"] if count else []
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as qemu:
            watch = threading.Timer(timeout_s, qemu.kill)
            watch.start()
            try:
                return _results(qemu.stdout, cases, machine)
            finally:
                watch.cancel()
                qemu.kill()


def _memory(cases: list[tuple[Image, list[np.ndarray]]]) -> bytes:
    head, body = struct.pack("<I", len(cases)), bytearray()
    base = (4 + 16 * len(cases) + 15) // 16 * 16
    for image, vectors in cases:
        body += bytes(-len(body) % 16)
        at = base + len(body)
        body += image.content
        head += struct.pack("<4I", at, len(image.content), base + len(body), len(vectors))
        body += b"".join(np.ascontiguousarray(v, np.int8).tobytes() for v in vectors)
    memory = head.ljust(base, b"\0") + bytes(body)
    assert len(memory) <= 2 << 20, "more than the slots hold"
    return memory


def _results(stream, cases, machine) -> list[Result]:
    def take(n: int) -> bytes:
        got = stream.read(n)
        assert len(got) == n, f"{machine} stopped after {len(got)} of {n} bytes"
        return got

    start = take(4)
    assert start == b"EDGE", f"{machine}: {start!r}"
    results = []
    for image, vectors in cases:
        (status,) = struct.unpack("<I", take(4))
        outputs, instructions = [], []
        size = sum(buffer.size for buffer, _ in image.program.outputs)
        for _ in vectors if status == 0 else ():
            count = take(4)
            assert count != b"FALT", f"{machine} faulted: {struct.unpack('<5I', take(20))}"
            instructions.append(struct.unpack("<I", count)[0])
            outputs.append(np.frombuffer(take(size), np.int8))
        results.append(Result(status, outputs, instructions))
    return results
