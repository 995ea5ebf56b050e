"""What a rig checks, one module a check. Each has `check(context) -> Outcome`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from edge_ad.rig.checks.base import Context
from edge_ad.rig.outcome import Outcome


def check_called(name: str) -> Callable[[Context], Outcome]:
    """The function of a check, by its name in the rig file."""
    found: Callable[[Context], Outcome] = import_module(f"edge_ad.rig.checks.{name}").check
    return found
