"""The live model is that of the bundle: one that was left behind by an earlier flash is found."""

from __future__ import annotations

from edge_ad.rig.checks.base import Context
from edge_ad.rig.outcome import Outcome


def check(context: Context) -> Outcome:
    """Flash it where the rig file says so; then it has to be live. Raises NotLiveError where another is."""
    device = context.device
    put = device.differs(context.live) is not None and device.may_flash(context.bundle)
    device.ready(context.bundle)
    return context.passed("flashed and live" if put else "live", flashed=put)
