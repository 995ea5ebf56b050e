"""`edge-ad rig`: devices and bundles held to what must hold."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edge_ad.cli.options import errors, out, print_json

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group("rig")
def command() -> None:
    """Hold devices to what must hold: parity, budgets, scores, faulty lines, power cuts, endurance.

    A rig file (TOML) names devices, bundles and checks. docs/rigs.md goes from a bare board to a green rig.
    """


def _selection(command: Command) -> Command:
    for option in reversed(
        [
            click.argument("file", type=click.Path(path_type=Path, dir_okay=False), metavar="RIG.toml"),
            click.option("--device", "devices", multiple=True, metavar="NAME", help="Only this device (repeatable)."),
            click.option("--bundle", "bundles", multiple=True, metavar="NAME", help="Only this bundle (repeatable)."),
            click.option("--wait", "wait_s", type=click.FloatRange(0), default=0.0, metavar="SECONDS",
                         help="Wait so long for a device that another rig holds (default: fail at once)."),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


@command.command("run")
@_selection
@click.option("--check", "checks", multiple=True, metavar="NAME", help="Only this check (repeatable).")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML there.")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with plots there."
)
def run(
    file: Path, devices: tuple[str, ...], bundles: tuple[str, ...], wait_s: float, checks: tuple[str, ...],
    as_json: bool, junit: Path | None, html: Path | None,
) -> None:  # fmt: skip
    """Run every check of RIG.toml for every device and bundle; devices side by side.

    Exits with 3 when a quality gate failed, 4 when a device's outputs are not the host's, 1 when something could not be
    checked.
    """
    from edge_ad.bundle.atomic import write_atomic
    from edge_ad.rig.config import load_rig
    from edge_ad.rig.outcome import exit_code
    from edge_ad.rig.results.table import print_table
    from edge_ad.rig.run import cells, run_rig

    rig = load_rig(file)
    matrix = cells(rig, devices=devices, bundles=bundles, checks=checks)
    with _progress(len(matrix)) as done:
        outcomes = run_rig(rig, matrix, wait_s=wait_s, done=done, waiting=_say)
    if junit is not None:
        from edge_ad.rig.results.junit import junit_xml

        write_atomic(junit, junit_xml(rig, outcomes))
    if html is not None:
        from edge_ad.rig.results.html import html_page

        write_atomic(html, html_page(rig, outcomes).encode())
    if as_json:
        from edge_ad.rig.results.json import as_data

        print_json(as_data(rig, outcomes))
    else:
        print_table(outcomes, out)
    if code := exit_code(outcomes):
        sys.exit(code)


@command.command("baseline")
@_selection
def baseline(file: Path, devices: tuple[str, ...], bundles: tuple[str, ...], wait_s: float) -> None:
    """Store what each bundle costs on each device now: the budget check holds later runs to it.

    The file is the one that the check's table names. What it holds of other devices and bundles stays.
    """
    from edge_ad.rig.baseline import measure_baseline
    from edge_ad.rig.config import load_rig

    rig = load_rig(file)
    with _progress(None) as done:
        path, found = measure_baseline(
            rig, devices=devices, bundles=bundles, wait_s=wait_s, waiting=_say, done=done
        )
    for (device, bundle), entry in found.items():
        costs = ", ".join(f"{name} {value:,.0f}" for name, value in entry.costs.items())
        out.print(f"{device} {bundle}: {costs}", soft_wrap=True)
    out.print(f"baseline {path}", soft_wrap=True)


@command.command("schema")
def schema() -> None:
    """Print the JSON schema of what `rig run --json` prints."""
    from edge_ad.rig.results.json import json_schema

    print_json(json_schema())


def _say(told: str) -> None:
    errors.print(told, soft_wrap=True, markup=False, highlight=False)


class _progress:  # noqa: N801 (a context manager)
    """A bar over all cells, on standard error."""

    def __init__(self, total: int | None):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=errors,
        )
        self._task = self._bar.add_task("rig", total=total)

    def __enter__(self) -> Callable[[Any], None]:
        self._bar.start()
        return lambda outcome: self._bar.update(
            self._task, advance=1, description=f"{outcome.device} {outcome.bundle} {outcome.check}"
        )

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()
