"""ONNX Runtime: on any CPU, and on NVIDIA devices through TensorRT or CUDA."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge_ad.errors import EngineError, MissingDependencyError
from edge_ad.runtime.engines.base import Engine, EngineInfo, Tensor
from edge_ad.runtime.isa import cpu_isa

ProviderName = Literal["tensorrt", "cuda", "cpu"]
PROVIDERS: dict[ProviderName, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}


class OnnxRuntimeEngine:
    """An ONNX file with static shapes. Of the providers that are asked for, the first that is there comes first.

    A provider that is not there, fails, or cannot take a node leaves that to the next one: `describe` says so and
    counts who really has which nodes, and `require` makes it an error. TensorRT builds its engine on the device, at the
    first start (minutes), and keeps it in a folder named after the file's digest, the GPU and ONNX Runtime's version.
    """

    def __init__(
        self, model: Path, *, threads: int | None = None, providers: Sequence[ProviderName] = ("cpu",),
        require: ProviderName | None = None, precision: str = "fp32", workspace_mb: int = 1024,
        cache: Path | None = None, parts: Mapping[str, Engine] | None = None,
    ):  # fmt: skip
        """threads: of the CPU, None leaves the number to ONNX Runtime. require: provider that has to run all of it.
        precision: int8 or fp16 let TensorRT use kernels of that kind. workspace_mb: memory that it may use while it
        builds. cache: folder of built engines (default: EDGE_AD_CACHE, else ~/.cache/edge-ad). parts: further
        networks, already loaded. Raises MissingDependencyError, and EngineError for a network that is refused or a
        provider that is required and does not run it."""
        self.parts = parts or {}
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingDependencyError(
                "this payload needs ONNX Runtime", hint="pip install 'edge-ad[onnxruntime]'"
            ) from error
        onnxruntime.set_default_logger_severity(3)
        self._version = onnxruntime.__version__
        self._precision = precision
        self._threads = threads
        there = onnxruntime.get_available_providers()
        wanted = [name for name in providers if PROVIDERS[name] in there]
        self._asked, self._failed = (
            providers[0],
            [f"{name} is not in this ONNX Runtime" for name in providers if PROVIDERS[name] not in there],
        )
        if require is not None and PROVIDERS[require] not in there:
            raise EngineError(
                f"the provider '{require}' is required and is not in this ONNX Runtime",
                where=model, hint=f"it has: {', '.join(n for n, p in PROVIDERS.items() if p in there)}",
            )  # fmt: skip
        chosen = [require] if require is not None and require not in wanted else wanted or ["cpu"]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        configured = [
            (PROVIDERS[name], _provider_options(name, model, precision, workspace_mb, cache))
            for name in chosen
        ]
        self._session, self._nodes = self._open(
            onnxruntime, model, options, configured, strict=require is not None
        )
        self._input = self._session.get_inputs()[0]
        self._names = [output.name for output in self._session.get_outputs()]
        self._providers = self._session.get_providers()
        if require is not None:
            self._check_required(require, model)

    def infer(self, batch: Tensor) -> dict[str, Tensor]:
        """Run one batch of exactly the network's shape. Bytes are given as numbers to a network that takes no bytes.
        Raises EngineError for another shape or type."""
        dtype = _TYPES.get(self._input.type, np.float32)
        if batch.dtype == np.uint8 and dtype == np.float32:
            batch = batch.astype(np.float32)
        if list(batch.shape) != list(self._input.shape) or batch.dtype != dtype:
            raise EngineError(
                f"the network takes {tuple(self._input.shape)} {np.dtype(dtype)}, not {batch.shape} {batch.dtype}"
            )
        try:
            results = self._session.run(None, {self._input.name: batch})
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed ({str(error).strip().splitlines()[0]})") from error
        return dict(zip(self._names, results, strict=True))

    def _open(
        self, onnxruntime: Any, model: Path, options: Any, providers: list[tuple[str, dict[str, Any]]], *, strict: bool
    ) -> tuple[Any, dict[str, int]]:  # fmt: skip
        """A session with these providers; unless `strict`, without those at the front that fail. Raises EngineError."""
        try:
            return _opened(
                onnxruntime, model, options, providers, profile=providers[0][0] != PROVIDERS["cpu"]
            )
        except Exception as error:  # its exceptions share no base class
            cause = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            if strict or len(providers) == 1:
                raise EngineError(f"ONNX Runtime refuses the network ({cause})", where=model) from error
            self._failed.append(f"{_short(providers[0][0])} failed ({cause})")
            options.enable_profiling = False
            return self._open(onnxruntime, model, options, providers[1:], strict=strict)

    def describe(self) -> EngineInfo:
        """The provider that has most of the network, and how many nodes each one has."""
        first = max(self._nodes, key=lambda name: self._nodes[name]) if self._nodes else self._providers[0]
        told = ", ".join(f"{_short(name)} {count}" for name, count in sorted(self._nodes.items()))
        threads = self._threads or len(os.sched_getaffinity(0))
        details = {"nodes": told} if told else {}
        if fallback := self._fallback(first):
            details["fallback"] = fallback
        return EngineInfo(
            engine="onnxruntime", version=self._version, provider=_short(first), isa=cpu_isa(),
            threads=threads, precision=self._precision, details=details,
        )  # fmt: skip

    def _fallback(self, first: str) -> str:
        """What does not run where the payload would have it, in one clause; empty when all of it does."""
        others = {name: count for name, count in self._nodes.items() if name != PROVIDERS[self._asked]}
        if first != PROVIDERS[self._asked]:
            why = "; ".join(self._failed) or "the others left it"
            return f"runs on {_short(first)}, not on {self._asked}: {why}"
        if others:
            told = ", ".join(f"{count} on {_short(name)}" for name, count in sorted(others.items()))
            return f"{told} of {sum(self._nodes.values())} nodes, the others on {self._asked}"
        return ""

    def close(self) -> None:
        """Close the parts; ONNX Runtime frees the network with this object."""
        for part in self.parts.values():
            part.close()

    def _check_required(self, require: ProviderName, model: Path) -> None:
        """Raise EngineError unless that provider has every node."""
        others = {name: count for name, count in self._nodes.items() if name != PROVIDERS[require]}
        if self._providers[0] != PROVIDERS[require] or others:
            told = ", ".join(f"{count} nodes on {name}" for name, count in others.items())
            raise EngineError(
                f"the provider '{require}' is required and does not run all of the network",
                where=model, hint=told or f"in use: {', '.join(self._providers)}",
            )  # fmt: skip


def _short(provider: str) -> str:
    """The name that users know a provider by."""
    return next((short for short, full in PROVIDERS.items() if full == provider), provider)


def _opened(
    onnxruntime: Any, model: Path, options: Any, providers: list[tuple[str, dict[str, Any]]], *, profile: bool
) -> tuple[Any, dict[str, int]]:
    """A session, and how many nodes each provider has; that is found out by one profiled inference, and only where
    nodes may be elsewhere than on the CPU."""
    # ONNX Runtime would itself fall back to a CPU, here and in the middle of a run, and print that to standard output.
    if not profile:
        return onnxruntime.InferenceSession(str(model), options, providers=providers, enable_fallback=0), {}
    with tempfile.TemporaryDirectory(prefix="edge-ad-") as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(model), options, providers=providers, enable_fallback=0)
        feeds = {i.name: np.zeros(i.shape, _TYPES.get(i.type, np.float32)) for i in session.get_inputs()}
        session.run(None, feeds)
        return session, nodes_by_provider(Path(session.end_profiling()))


def nodes_by_provider(profile: Path) -> dict[str, int]:
    """How many nodes each execution provider ran, from ONNX Runtime's profile."""
    events = json.loads(profile.read_text())
    nodes = {
        (event["name"].removesuffix("_kernel_time"), event["args"]["provider"])
        for event in events
        if event.get("cat") == "Node" and event.get("args", {}).get("provider")
    }
    return dict(collections.Counter(provider for _, provider in nodes))


def _provider_options(
    name: ProviderName, model: Path, precision: str, workspace_mb: int, cache: Path | None
) -> dict[str, Any]:
    if name != "tensorrt":
        return {}
    folder = engine_cache(model, gpu_name(), cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(
            f"TensorRT's engine cannot be kept there ({error.strerror})", where=folder,
            hint="set EDGE_AD_CACHE to a folder that may be written",
        ) from error  # fmt: skip
    return {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(folder),
        "trt_max_workspace_size": workspace_mb << 20,
        "trt_int8_enable": precision == "int8",
        "trt_fp16_enable": precision in ("int8", "fp16"),  # what stays unquantized may be FP16
    }


def engine_cache(model: Path, gpu: str, cache: Path | None = None) -> Path:
    """The folder of the engines built from a file on a GPU: another file, GPU or ONNX Runtime (whose release goes with
    TensorRT's), another folder."""
    root = cache or Path(os.environ.get("EDGE_AD_CACHE") or Path.home() / ".cache" / "edge-ad")
    digest = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
    name = "".join(c if c.isalnum() else "-" for c in gpu.lower()).strip("-") or "unknown"
    return root / "tensorrt" / f"{digest}-{name}-ort{_version()}"


def _version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)


def gpu_name() -> str:
    """The board as the device tree names it (Jetson), else the GPU as its driver does, else `unknown`."""
    tree = Path("/proc/device-tree/model")
    if tree.is_file() and "jetson" in (name := tree.read_text(errors="replace").strip("\0\n")).lower():
        return name
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.splitlines()[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"
