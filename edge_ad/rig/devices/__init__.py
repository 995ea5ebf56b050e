"""The devices of a rig, one module a kind. Each has `identity(table, rig)` and `opened(table, rig)`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from edge_ad.rig.config import Rig
from edge_ad.rig.devices.base import OpenDevice
from edge_ad.rig.tables import DeviceTable


def identity(device: DeviceTable, rig: Rig) -> str:
    """By which two rigs know that they mean the same device, however each calls it."""
    found: str = _module(device).identity(device, rig)
    return found


@contextlib.contextmanager
def open_device(device: DeviceTable, rig: Rig) -> Iterator[OpenDevice]:
    """Reach a device; what was started for it is stopped. Raises EdgeAdError as its kind does."""
    with _module(device).opened(device, rig) as opened:
        yield opened


def _module(device: DeviceTable) -> Any:
    return import_module(f"edge_ad.rig.devices.{device.kind}")  # type: ignore[attr-defined]
