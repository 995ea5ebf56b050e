"""Test rigs: which devices, which bundles, and what must hold (docs/rigs.md).

`load_rig` reads a rig file, `cells` is its matrix, `lock_devices` keeps other rigs away, `open_device` reaches one, and
`run_check` is one cell; `run_rig` is all of it. The command line and the pytest plugin call just these.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_ad.rig.config import Rig, load_rig
    from edge_ad.rig.devices import open_device
    from edge_ad.rig.locks import lock_devices
    from edge_ad.rig.outcome import Outcome
    from edge_ad.rig.run import Cell, cells, run_check, run_rig

__all__ = [
    "Cell",
    "Outcome",
    "Rig",
    "cells",
    "load_rig",
    "lock_devices",
    "open_device",
    "run_check",
    "run_rig",
]

_HOMES = {
    "Cell": "run", "Outcome": "outcome", "Rig": "config", "cells": "run", "load_rig": "config", "lock_devices": "locks",
    "open_device": "devices", "run_check": "run", "run_rig": "run",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Imported when it is first asked for: pytest imports this package for its plugin, whatever it then runs."""
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
