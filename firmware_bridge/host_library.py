"""The board's engine as a library of this machine: the same C, built by this machine's compiler.

Host verification and golden vectors run what the board runs.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from edge_ad.errors import EngineError, MissingDependencyError
from edge_ad.firmware_bridge.image_steps import steps
from edge_ad.firmware_bridge.port_spec import Array, PortSpec

ENGINE = Path(__file__).resolve().parent / "firmware" / "engine"
FLAGS = ("-std=c99", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-Wall", "-Wextra")
STATUS = ("ok", "no image", "made for another ABI", "made for other kernels", "truncated", "checksum differs",
          "damaged", "needs more memory than there is", "golden vectors differ")  # fmt: skip

MOST_ARENA_BYTES = 1 << 30
_ARENA_AT = 16  # in an image's header


class _Model(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_void_p) for name in ("image", "arena", "header", "steps", "inputs", "outputs")
    ]


class HostModel:
    """A model image of the plain kernel set, loaded by the engine on this machine."""

    def __init__(
        self, image: bytes, arena_bytes: int | None = None, *, inputs: Sequence[PortSpec] | None = None,
        outputs: Sequence[PortSpec] | None = None,
    ):  # fmt: skip
        """arena_bytes: what there is, by default what the image asks for. inputs, outputs: the image's ports, which
        do not tell their types; by default flat INT8 ones. Raises EngineError for an image that the engine refuses or
        that has other ports."""
        self._library, self._content = _library(), image
        self._image, image_at = _aligned(len(image))
        ctypes.memmove(image_at, image, len(image))
        if arena_bytes is None:
            asked = int.from_bytes(image[_ARENA_AT : _ARENA_AT + 4], "little")
            arena_bytes = min(asked, MOST_ARENA_BYTES)
        self._arena, arena_at = _aligned(arena_bytes)
        self._model = _Model()
        status = self._library.edge_load(
            ctypes.byref(self._model), ctypes.c_void_p(image_at), len(image), ctypes.c_void_p(arena_at), arena_bytes
        )  # fmt: skip
        if status:
            raise EngineError(f"the engine refuses the model image: {STATUS[status]}")
        header = np.frombuffer(image, "<u4", 16)
        table = np.frombuffer(image, "<u4", 2 * int(header[8] + header[9]), int(header[7])).reshape(-1, 2)
        ports = [(int(offset), int(size)) for offset, size in table]
        self._inputs = _matched(ports[: int(header[8])], inputs)
        self._outputs = _matched(ports[int(header[8]) :], outputs)
        self._arena_at, self._arena_bytes = arena_at, arena_bytes

    def infer(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs in their ports' shapes and types, of inputs of any shape but the right size and values."""
        for (offset, spec), values in zip(self._inputs, inputs, strict=True):
            raw = spec.raw(values)
            if len(raw) != spec.nbytes:
                raise EngineError(f"the network takes {spec.nbytes} bytes, not {len(raw)}")
            ctypes.memmove(self._arena_at + offset, raw, len(raw))
        return self.again()

    def trace(self, inputs: Sequence[bytes], *, fill: int = 0) -> Iterator[tuple[int, bytes]]:
        """(step, its tensor) of each step that writes one, as `BoardClient.tensor` gives it. inputs: the bytes of each.
        fill: what the memory holds before, which is what lies where a step has written only a part of its tensor."""
        ctypes.memset(self._arena_at, fill, self._arena_bytes)
        for (offset, _), raw in zip(self._inputs, inputs, strict=True):
            ctypes.memmove(self._arena_at + offset, raw, len(raw))
        for number, step in enumerate(steps(self._content)):
            self._library.edge_run_step(ctypes.byref(self._model), number)
            if step.output is not None:
                yield number, ctypes.string_at(self._arena_at + step.output, step.nbytes)

    def again(self) -> list[Array]:
        """Outputs for what lies in the memory of the inputs: the same once more, where these are kept."""
        self._library.edge_invoke(ctypes.byref(self._model))
        return [
            spec.read(ctypes.string_at(self._arena_at + offset, spec.nbytes))
            for offset, spec in self._outputs
        ]


def _matched(ports: list[tuple[int, int]], specs: Sequence[PortSpec] | None) -> list[tuple[int, PortSpec]]:
    """Offset in the arena and description of each of an image's ports."""
    specs = [PortSpec((size,)) for _, size in ports] if specs is None else specs
    if [size for _, size in ports] != [spec.nbytes for spec in specs]:
        raise EngineError(
            f"the model image has ports of {[size for _, size in ports]} bytes, not {[s.nbytes for s in specs]}"
        )
    return [(offset, spec) for (offset, _), spec in zip(ports, specs, strict=True)]


def _aligned(size: int) -> tuple[ctypes.Array[ctypes.c_char], int]:
    memory = ctypes.create_string_buffer(size + 16)
    return memory, -(-ctypes.addressof(memory) // 16) * 16


def sources() -> list[Path]:
    """The engine's C files with plain kernels."""
    return sorted([*ENGINE.glob("*.c"), *(ENGINE / "kernels").glob("*.c")])


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    """Built once for these sources and kept in the user's cache folder."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise MissingDependencyError(
            "a C compiler is needed to run the board's engine here", hint="apt install gcc"
        )
    files = [*sources(), *sorted(ENGINE.rglob("*.h"))]
    key = hashlib.sha256(b"".join(f.read_bytes() for f in files) + " ".join(FLAGS).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edge-ad"
    built = cache / f"engine-{key}.so"
    if not built.exists():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                _compile(compiler, Path(folder) / "engine.so").replace(built)
        except OSError as error:
            raise EngineError(
                f"the board's engine cannot be built there ({error.strerror})",
                where=cache,
                hint="set XDG_CACHE_HOME to a folder that you may write to",
            ) from error
    return ctypes.CDLL(str(built))


def _compile(compiler: str, out: Path) -> Path:
    command = [compiler, *FLAGS, *map(str, sources()), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise EngineError(f"the engine does not compile here: {lines[-1]}")
    return out
