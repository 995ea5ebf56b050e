"""The options by which a user states a budget and a tolerance, for `compile` and `sweep`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge_ad.errors import UsageError

if TYPE_CHECKING:
    from edge_ad.compile.sweep.form import Asked

Command = TypeVar("Command", bound=Callable[..., Any])
_POSITIVE = click.FloatRange(0, min_open=True)


def budget_options(command: Command) -> Command:
    """Adds --speedup, --max-auroc-drop, --flash-kb and --ram-kb."""
    for option in reversed(
        (
            click.option("--speedup", type=_POSITIVE, metavar="TIMES",
                         help="Budget: so many times as fast as the fitted network in float (boards: fewer "
                         "instructions than unpruned)."),
            click.option("--max-auroc-drop", type=click.FloatRange(0, 1, max_open=True),
                         help="Tolerance: what AUROC may fall by, on held-back normal inputs and altered copies of "
                         "them; with --keep auto also of the layers' search."),
            click.option("--flash-kb", type=_POSITIVE, help="Budget of flash in KB of 1024 bytes, firmware and all."),
            click.option("--ram-kb", type=_POSITIVE, help="Budget of memory in KB of 1024 bytes, stack and all."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def asked_of(
    speedup: float | None, max_auroc_drop: float | None, flash_kb: float | None, ram_kb: float | None
) -> Asked:
    """What these options ask for. Raises UsageError for a budget of less than a byte."""
    from edge_ad.compile.sweep.form import Asked

    if any(kb is not None and kb * 1024 < 1 for kb in (flash_kb, ram_kb)):
        raise UsageError("a budget of less than a byte holds nothing")
    return Asked(
        speedup=speedup,
        flash_bytes=None if flash_kb is None else int(flash_kb * 1024),
        ram_bytes=None if ram_kb is None else int(ram_kb * 1024),
        max_drop=max_auroc_drop,
    )
