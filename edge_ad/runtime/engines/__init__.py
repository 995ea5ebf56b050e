"""Inference engines. Each imports its package only when it is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_ad.bundle.manifest import Payload
from edge_ad.errors import EngineError
from edge_ad.runtime.engines.base import Engine


def open_engine(payload: Payload, folder: Path, **overrides: Any) -> Engine:
    """Load a payload whose files lie under `folder`, with its own options unless overridden (e.g. `threads=1`).

    Raises EngineError for an unknown engine or a network that it refuses, MissingDependencyError when the
    engine's package is not installed.
    """
    options = {**payload.options, **overrides}
    if payload.engine == "openvino":
        from edge_ad.runtime.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(folder / payload.model, **options)
    raise EngineError(f"unknown engine '{payload.engine}'", hint="this version has: openvino")
