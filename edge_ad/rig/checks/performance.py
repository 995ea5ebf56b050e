"""How long an inference takes, by the timer of a board that speaks MLPerf Tiny's text."""

from __future__ import annotations

from edge_ad.rig.checks.base import Context
from edge_ad.rig.outcome import Outcome


def check(context: Context) -> Outcome:
    """The median over windows; it fails where that is more than is allowed."""
    settings = context.settings
    found = context.text.performance(context.live, settings.windows, settings.seconds)
    figures = {
        "latency_us": found.median_us, "windows_us": list(found.windows_us), "iterations": found.iterations,
    }  # fmt: skip
    told = f"{found.median_us:,.1f} us an inference, median of {settings.windows} windows of {found.iterations:,}"
    if settings.most_us is not None and found.median_us > settings.most_us:
        return context.failed("quality", f"{told}, allowed are {settings.most_us:,.1f}", **figures)
    return context.passed(told, **figures)
