"""Results for a terminal: one row for each device and bundle, one column for each check, and what failed below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge_ad.rig.outcome import Outcome, Status

_SIGNS: dict[Status, str] = {
    "passed": "[green]passed[/]", "failed": "[bold red]FAILED[/]", "skipped": "[dim]skipped[/]",
    "error": "[bold red]ERROR[/]",
}  # fmt: skip


def print_table(outcomes: Sequence[Outcome], console: Console) -> None:
    """The matrix, then a line for each outcome that is not passed, then the sum."""
    checks = list(dict.fromkeys(outcome.check for outcome in outcomes))
    rows: dict[tuple[str, str], dict[str, Outcome]] = {}
    for outcome in outcomes:
        rows.setdefault((outcome.device, outcome.bundle), {})[outcome.check] = outcome
    table = Table(box=None, pad_edge=False)
    for name in ("device", "bundle", *checks):
        table.add_column(name, no_wrap=True)
    for (device, bundle), found in rows.items():
        signs = [_SIGNS[found[check].status] if check in found else "-" for check in checks]
        table.add_row(escape(device), escape(bundle), *signs)
    console.print(table)
    for outcome in outcomes:
        if outcome.status != "passed":
            place = f"{outcome.device} {outcome.bundle} {outcome.check}"
            console.print(f"{outcome.status}: {place}: {outcome.message}", soft_wrap=True, markup=False)
    counts = Counter(outcome.status for outcome in outcomes)
    console.print(
        ", ".join(f"{counts[status]} {status}" for status in _SIGNS if counts[status]) or "nothing to check"
    )
