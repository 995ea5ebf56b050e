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
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.errors import EngineError, MissingDependencyError

ENGINE = Path(__file__).resolve().parent / "firmware" / "engine"
FLAGS = ("-std=c99", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra")
STATUS = ("ok", "no image", "made for another ABI", "made for other kernels", "truncated", "checksum differs",
          "damaged", "needs more memory than there is", "golden vectors differ")  # fmt: skip

MOST_ARENA_BYTES = 1 << 30
_ARENA_AT = 16  # in an image's header

Int8Array = npt.NDArray[np.int8]


class _Model(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_void_p) for name in ("image", "arena", "header", "steps", "inputs", "outputs")
    ]


class HostModel:
    """A model image of the plain kernel set, loaded by the engine on this machine."""

    def __init__(self, image: bytes, arena_bytes: int | None = None):
        """arena_bytes: what there is, by default what the image asks for. Raises EngineError for an image that the
        engine refuses."""
        self._library = _library()
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
        self._ports = np.frombuffer(image, "<u4", 2 * int(header[8] + header[9]), int(header[7])).reshape(
            -1, 2
        )
        self._n_inputs = int(header[8])
        self._arena_at = arena_at

    def infer(self, inputs: list[Int8Array]) -> list[Int8Array]:
        """Outputs, flat, of inputs of any shape but the right size."""
        for (offset, size), values in zip(self._ports[: self._n_inputs], inputs, strict=True):
            raw = np.ascontiguousarray(values, np.int8).tobytes()
            if len(raw) != size:
                raise EngineError(f"the network takes {size} bytes, not {len(raw)}")
            ctypes.memmove(self._arena_at + int(offset), raw, len(raw))
        self._library.edge_invoke(ctypes.byref(self._model))
        return [
            np.frombuffer(ctypes.string_at(self._arena_at + int(offset), int(size)), np.int8)
            for offset, size in self._ports[self._n_inputs :]
        ]


def _aligned(size: int) -> tuple[ctypes.Array[ctypes.c_char], int]:
    memory = ctypes.create_string_buffer(size + 16)
    return memory, -(-ctypes.addressof(memory) // 16) * 16


def sources() -> list[Path]:
    """The engine's C files with plain kernels."""
    return sorted([ENGINE / "engine.c", *(ENGINE / "kernels").glob("*.c")])


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
