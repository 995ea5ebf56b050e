"""Test rigs: which devices, which bundles, and what must hold (docs/rigs.md).

`load_rig` reads a rig file, `cells` is its matrix, `lock_devices` keeps other rigs away, `open_device` reaches one, and
`run_check` is one cell. The command line and the pytest plugin call just these.
"""

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
