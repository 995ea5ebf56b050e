"""LiteRT: .tflite files on Linux boards, by `ai-edge-litert` or, where the device has that, `tflite-runtime`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge_ad.errors import EngineError, MissingDependencyError
from edge_ad.runtime.engines.base import Engine, EngineInfo, Tensor
from edge_ad.runtime.isa import cpu_isa

Kernels = Literal["fast", "plain", "reference"]
# By the interpreter's names: XNNPACK on top of the built-in kernels, those alone, or the slow ones that define it all.
_RESOLVERS: dict[Kernels, str] = {
    "fast": "AUTO",
    "plain": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "reference": "BUILTIN_REF",
}


class LiteRtEngine:
    """A network in up to three .tflite files: what comes before the quantized part, that part, and what comes behind.

    The middle one may take and give INT8: it is handed the nearest steps, and its own are turned back into numbers. The
    outer ones are float32.
    """

    def __init__(
        self, model: Path, *, outputs: Sequence[str], front: str | None = None, tail: str | None = None,
        threads: int | None = None, kernels: Kernels = "fast", precision: str = "fp32",
        parts: Mapping[str, Engine] | None = None,
    ):  # fmt: skip
        """model: the middle file; front, tail: names of the others beside it. outputs: names of what comes out, in
        order. threads: None takes as many as there are cores. Raises MissingDependencyError, and EngineError for a
        network that is refused."""
        self.parts = parts or {}
        self._package, module = _interpreter_module()
        self._threads = threads or len(os.sched_getaffinity(0))
        self._kernels, self._precision, self._outputs = kernels, precision, list(outputs)
        self._front = None if front is None else _Stage(module, model.parent / front, self._threads, kernels)
        self._core = _Stage(module, model, self._threads, kernels)
        self._tail = None if tail is None else _Stage(module, model.parent / tail, self._threads, kernels)
        last = self._tail or self._core
        if len(last.outputs) != len(self._outputs):
            raise EngineError(
                f"the network gives {len(last.outputs)} outputs, not {len(self._outputs)}", where=model
            )

    def infer(self, batch: Tensor) -> dict[str, Tensor]:
        """Run one batch of exactly the network's shape. Raises EngineError for another."""
        edges = [batch] if self._front is None else self._front.run([batch])
        n = len(self._core.inputs)
        made = self._core.run(edges[:n])
        if self._tail is not None:
            made = self._tail.run([*made, *edges[n:]])
        return dict(zip(self._outputs, made, strict=True))

    def describe(self) -> EngineInfo:
        """The package that runs it, and its kernels."""
        return EngineInfo(
            engine="litert", version=version(self._package), provider="cpu", isa=cpu_isa(), threads=self._threads,
            precision=self._precision, details={"package": self._package, "kernels": self._kernels},
        )  # fmt: skip

    def close(self) -> None:
        """Close the parts; the interpreters are freed with this object."""
        for part in self.parts.values():
            part.close()


class _Stage:
    """One .tflite file with its only signature. inputs, outputs: their names, in order."""

    def __init__(self, module: Any, path: Path, threads: int, kernels: Kernels):
        try:
            interpreter = module.Interpreter(
                model_path=str(path),
                num_threads=threads,
                experimental_op_resolver_type=getattr(module.OpResolverType, _RESOLVERS[kernels]),
            )
            signatures = interpreter.get_signature_list()
            self._run = interpreter.get_signature_runner(next(iter(signatures), None))
            names = signatures[next(iter(signatures))]
        except (RuntimeError, ValueError, OSError, StopIteration) as error:
            cause = str(error).strip().splitlines()[-1] if str(error).strip() else repr(error)
            raise EngineError(f"LiteRT refuses the network ({cause})", where=path) from error
        self._keep = interpreter
        self._path = path
        self.inputs, self.outputs = sorted(names["inputs"], key=_place), sorted(names["outputs"], key=_place)
        self._given, self._made = self._run.get_input_details(), self._run.get_output_details()

    def run(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Tensors in, tensors out, in order; INT8 ones quantized and dequantized by the file's own scales."""
        feeds = {}
        for name, value in zip(self.inputs, values, strict=True):
            detail = self._given[name]
            shape = tuple(int(size) for size in detail["shape"])
            if shape != value.shape:
                raise EngineError(f"the network takes {shape}, not {value.shape}", where=self._path)
            feeds[name] = _quantized(value, detail)
        made = self._run(**feeds)
        return [_dequantized(made[name], self._made[name]) for name in self.outputs]


def _place(name: str) -> int:
    """`args_3` and `output_3` to 3: names are not in order."""
    return int(name.rpartition("_")[2])


def _quantized(value: Tensor, detail: Mapping[str, Any]) -> Tensor:
    dtype = np.dtype(detail["dtype"])
    if dtype.kind == "f" or dtype == value.dtype:
        return value.astype(dtype, copy=False)
    scale, zero = detail["quantization"]
    limits = np.iinfo(dtype)
    steps = np.rint(value.astype(np.float32) / np.float32(scale)) + zero
    made: Tensor = np.clip(steps, limits.min, limits.max).astype(dtype)
    return made


def _dequantized(value: Tensor, detail: Mapping[str, Any]) -> Tensor:
    scale, zero = detail["quantization"]
    if value.dtype.kind == "f" or not scale:
        return np.array(value)
    made: Tensor = (value.astype(np.float32) - np.float32(zero)) * np.float32(scale)
    return made


def _interpreter_module() -> tuple[str, Any]:
    """Name of the package, and the module that holds its interpreter. Raises MissingDependencyError."""
    for package, name in (("ai-edge-litert", "ai_edge_litert.interpreter"),
                          ("tflite-runtime", "tflite_runtime.interpreter")):  # fmt: skip
        try:
            return package, importlib.import_module(name)
        except ImportError:
            continue
    raise MissingDependencyError(
        "this payload needs LiteRT", hint="pip install 'edge-ad[litert]' (or tflite-runtime, with NumPy 1)"
    )
