"""What a bundle costs on a device has not grown by more than is allowed since the baseline was written."""

from __future__ import annotations

from edge_ad.rig.baseline import read_baseline
from edge_ad.rig.checks.base import Context
from edge_ad.rig.outcome import Outcome
from edge_ad.rig.tables import BudgetCheck

_KEYS = {"instructions": "instructions", "flash": "flash_bytes", "ram": "ram_bytes", "stack": "stack_bytes",
         "latency": "latency_us"}  # fmt: skip


def check(context: Context) -> Outcome:
    """Raises RigError without a baseline."""
    settings: BudgetCheck = context.settings
    baseline = read_baseline(context.rig.resolve(settings.baseline))
    context.device.ready(context.bundle)
    costs = context.device.costs(context.live)
    entry = baseline.entry(context.device.table.name, context.bundle.name)
    if entry is None:
        told = f"the baseline has no figures of it; write them: edge-ad rig baseline {context.rig.path}"
        return context.failed("quality", told, **costs)
    over: list[str] = []
    held: list[str] = []
    for key, name in _KEYS.items():
        allowed: float | None = getattr(settings, key)
        if allowed is None or name not in entry.costs:
            continue
        before, now = entry.costs[name], costs.get(name)
        if now is None:
            over.append(f"{name} is in the baseline, and the device cannot tell it")
            continue
        held.append(f"{name} {now:,.0f} ({_change(before, now)})")
        if now > before * (1 + allowed):
            over.append(
                f"{name} went from {before:,.0f} to {now:,.0f} ({_change(before, now)}), allowed is +{allowed:.1%}"
            )
    figures = {**costs, "baseline": dict(entry.costs)}
    if over:
        return context.failed("quality", "; ".join(over), **figures)
    return context.passed(", ".join(held), **figures)


def _change(before: float, now: float) -> str:
    return f"{(now - before) / before:+.1%}" if before else f"{now - before:+,.0f}"


def measure(context: Context) -> Outcome:
    """The costs, as figures, for a baseline."""
    context.device.ready(context.bundle)
    return context.passed("measured", **context.device.costs(context.live))
