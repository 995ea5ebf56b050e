"""Inference engines. Each imports its package only when it is opened."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_ad.bundle.manifest import Payload
from edge_ad.errors import EngineError
from edge_ad.runtime.engines.base import Engine

log = logging.getLogger(__name__)


def open_engine(
    payload: Payload, folder: Path, *, require_provider: str | None = None, **overrides: Any
) -> Engine:
    """Load a payload whose files lie under `folder`, with its own options unless overridden (e.g. `threads=1`).

    require_provider: cpu, cuda or tensorrt, which has to run all of it; without it, what runs elsewhere than the
    payload asks for is logged as a warning. Raises EngineError for an unknown engine, a network that it refuses or that
    provider does not run, MissingDependencyError when the engine's package is not installed.
    """
    parts = {name: folder / model for name, model in payload.parts.items()}
    if require_provider is not None and payload.engine == "onnxruntime":
        overrides["require"] = require_provider
    engine = open_model(payload.engine, folder / payload.model, {**payload.options, **overrides}, parts)
    if require_provider is not None and engine.describe().provider.lower() != require_provider:
        runs = engine.describe()
        engine.close()
        raise EngineError(
            f"the provider '{require_provider}' is required, and the payload for '{payload.target}' runs on "
            f"{runs.engine} ({runs.provider})",
            hint="choose another --target, or leave the requirement out",
        )
    for one in (engine, *engine.parts.values()):
        if told := one.describe().details.get("fallback"):
            log.warning("%s: %s", payload.target, told)
    return engine


def open_model(
    engine: str, model: Path, options: Mapping[str, Any], parts: Mapping[str, Path] | None = None
) -> Engine:
    """Load a model file, and the `parts` that its score head calls, with the engine called `engine`.

    Raises as `open_engine` does.
    """
    if engine == "openvino":
        from edge_ad.runtime.engines.openvino import OpenVinoEngine

        loaded = {name: OpenVinoEngine(path, **options) for name, path in (parts or {}).items()}
        return OpenVinoEngine(model, parts=loaded, **options)
    if engine == "onnxruntime":
        from edge_ad.runtime.engines.onnxruntime import OnnxRuntimeEngine

        found = {name: OnnxRuntimeEngine(path, **options) for name, path in (parts or {}).items()}
        return OnnxRuntimeEngine(model, parts=found, **options)
    if engine == "image":  # a board's, before it is on a board
        from edge_ad.runtime.engines.image import ImageEngine

        return ImageEngine(model, **options)
    if engine == "litert":
        return _open_litert(model, dict(options), parts or {})
    if parts:
        raise EngineError(f"the engine '{engine}' runs one network a payload, this one has {1 + len(parts)}")
    if engine == "board":
        from edge_ad.runtime.engines.board import BoardEngine

        return BoardEngine(model, **options)
    raise EngineError(
        f"unknown engine '{engine}'", hint="this version has: openvino, onnxruntime, litert, board"
    )


def _open_litert(model: Path, options: dict[str, Any], parts: Mapping[str, Path]) -> Engine:
    from edge_ad.runtime.engines.litert import LiteRtEngine

    outputs = options.pop("part_outputs", {})
    whole = {
        key: value for key, value in options.items() if key not in ("front", "tail")
    }  # a part has one file
    loaded = {
        name: LiteRtEngine(path, **{**whole, "outputs": outputs.get(name, [])})
        for name, path in parts.items()
    }
    return LiteRtEngine(model, parts=loaded, **options)
