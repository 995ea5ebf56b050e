"""What a check is given, and how it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_ad.rig.config import Rig
from edge_ad.rig.devices.base import NotCheckedError, OpenDevice
from edge_ad.rig.devices.board import BoardDevice
from edge_ad.rig.devices.mlperf import TextDevice
from edge_ad.rig.outcome import Kind, Outcome
from edge_ad.rig.tables import BundleTable
from edge_ad.runtime.deployment import LiveBundle

__all__ = ["Context", "NotCheckedError"]


@dataclass(frozen=True)
class Context:
    """settings: the check's table in the rig file."""

    rig: Rig
    device: OpenDevice
    bundle: BundleTable
    check: str
    settings: Any

    @property
    def live(self) -> LiveBundle:
        """The bundle, extracted."""
        return self.device.bundle(self.bundle)

    @property
    def board(self) -> BoardDevice:
        """The device, if it speaks the link. Raises NotCheckedError."""
        if not isinstance(self.device, BoardDevice):
            raise NotCheckedError("is for boards that speak the link")
        return self.device

    @property
    def text(self) -> TextDevice:
        """The device, if it speaks MLPerf Tiny's text. Raises NotCheckedError."""
        if not isinstance(self.device, TextDevice):
            raise NotCheckedError("is for boards that speak MLPerf Tiny's text")
        return self.device

    def passed(self, message: str, **figures: Any) -> Outcome:
        """It holds."""
        return Outcome(self.check, self.device.table.name, self.bundle.name, "passed", None, message, figures)

    def failed(self, kind: Kind, message: str, **figures: Any) -> Outcome:
        """It does not."""
        return Outcome(self.check, self.device.table.name, self.bundle.name, "failed", kind, message, figures)
