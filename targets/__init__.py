"""Targets by name. A new one is a new file here and a line in `_MODULES`."""

from __future__ import annotations

import difflib
from importlib import import_module

from edge_ad.compile.target import Target
from edge_ad.errors import TargetError

_MODULES = {
    "cortex-m4": ("edge_ad.targets.microcontroller", "CORTEX_M4"),
    "cortex-m55": ("edge_ad.targets.microcontroller", "CORTEX_M55"),
    "cortex-m7": ("edge_ad.targets.microcontroller", "CORTEX_M7"),
    "jetson-nano": ("edge_ad.targets.jetson", "JETSON_NANO"),
    "jetson-orin": ("edge_ad.targets.jetson", "JETSON_ORIN"),
    "jetson-xavier": ("edge_ad.targets.jetson", "JETSON_XAVIER"),
    "litert": ("edge_ad.targets.litert", "TARGET"),
    "onnx-cpu": ("edge_ad.targets.onnx_cpu", "TARGET"),
    "openvino-cpu": ("edge_ad.targets.openvino_cpu", "TARGET"),
    "posix": ("edge_ad.targets.microcontroller", "POSIX"),
}


def names() -> list[str]:
    """All targets, sorted."""
    return sorted(_MODULES)


def get(name: str) -> Target:
    """The target called `name`. Raises TargetError that lists the known ones."""
    if name not in _MODULES:
        near = difflib.get_close_matches(name, _MODULES, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise TargetError(f"unknown target '{name}'", hint=f"{meant}known: {', '.join(names())}")
    module, attribute = _MODULES[name]
    target: Target = getattr(import_module(module), attribute)
    return target
