"""`edge-ad bench`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edge_ad.bundle.signature import PublicKey
from edge_ad.cli.options import errors, out, print_json, signature_option
from edge_ad.errors import EngineError

if TYPE_CHECKING:
    from edge_ad.bundle.manifest import Drift
    from edge_ad.runtime.bench import Measured, Skipped


@click.command("bench")
@click.argument("bundle")
@click.option("--target", "targets", multiple=True, help="Only this payload; may be given several times.")
@click.option(
    "--threads", type=click.IntRange(1), help="CPU threads of every engine (default: its own choice)."
)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=3.0, show_default=True,
              help="Of inference, for each payload.")  # fmt: skip
@signature_option
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(
    bundle: str, targets: tuple[str, ...], threads: int | None, seconds: float, signed_by: tuple[PublicKey, ...],
    as_json: bool,
) -> None:  # fmt: skip
    """Time every payload of a bundle that this machine can run, side by side.

    BUNDLE is a .edgead file or dir:/opt/line3. Payloads take turns, each in a process of its own. A time is from a
    network's input to its score, without reading and preprocessing; memory is what opening and running it added. The
    inputs are the golden vectors, which are checked, too: exit 4 when a payload disagrees with the host that compiled
    it. Drift is against the float network, as measured when it was compiled.
    """
    from edge_ad.runtime.bench import Measured, bench
    from edge_ad.runtime.deployment import check_files, load

    with load(bundle, signed_by=signed_by) as live:
        check_files(live.folder, live.manifest)
        drifts = {payload.target: payload.drift for payload in live.manifest.payloads}
        with _progress(seconds * (len(targets) or len(drifts))) as tick:
            found = bench(live, targets=targets, threads=threads, seconds=seconds, tick=tick)
    if as_json:
        print_json([_as_json(one, drifts[one.target]) for one in found])
    else:
        _show(found, drifts)
    for one in found:
        if isinstance(one, Measured):
            one.golden.require(where=one.target)
    if not any(isinstance(one, Measured) for one in found):
        raise EngineError("no payload can run on this machine", where=bundle)


def _as_json(found: Measured | Skipped, drift: Drift | None) -> dict[str, Any]:
    return {**asdict(found), "drift": None if drift is None else drift.model_dump(mode="json")}


def _show(found: Sequence[Measured | Skipped], drifts: Mapping[str, Drift | None]) -> None:
    from edge_ad.runtime.bench import Measured

    table = Table(box=None, pad_edge=False)
    for name in ("payload", "engine"):
        table.add_column(name, no_wrap=True)
    for name in ("median", "p99", "a second", "ratio", "memory", "load", "drift", "golden"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        if isinstance(one, Measured):
            table.add_row(*_row(one, drifts[one.target]))
    # Where a terminal is narrower it wraps the lines; cut-off figures would help nobody.
    Console(highlight=False, width=max(out.width, 120)).print(table)
    for one in found:
        if not isinstance(one, Measured):
            out.print(f"{one.target} ({one.precision}) not run: {one.reason}", soft_wrap=True, markup=False)
    ran = [one for one in found if isinstance(one, Measured)]
    if ran:
        out.print(
            f"{ran[0].engine.isa}; ratio: how many times as fast as {ran[0].target}; drift: rank correlation of the "
            "scores with the float network's",
            soft_wrap=True, markup=False,
        )  # fmt: skip


def _row(one: Measured, drift: Drift | None) -> list[str]:
    info = one.engine
    return [
        f"{one.target} ({one.precision})",
        f"{info.engine}, {info.provider.lower()}, {info.threads} thread{'s' if info.threads > 1 else ''}",
        f"{one.median_ms:.3g} ms",
        f"{one.p99_ms:.3g} ms",
        f"{one.throughput:,.0f}" if one.throughput >= 10 else f"{one.throughput:.2g}",
        f"{one.ratio:.2f}",
        f"{one.memory_mb:.0f} MB",
        f"{one.load_ms:.0f} ms",
        "-" if drift is None else f"{drift.rank_correlation:.4f}",
        "agrees" if one.golden.passed else "DISAGREES",
    ]


@contextmanager
def _progress(seconds: float) -> Iterator[Callable[[float], None]]:
    """A bar of seconds of inference on standard error."""
    with Progress(console=errors) as progress:
        task = progress.add_task("bench", total=seconds)
        yield lambda spent: progress.update(task, completed=spent)
