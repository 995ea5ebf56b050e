"""`edge-ad flash --to ssh://…`: several devices at once, and a table of how each fared."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from edge_ad.bundle.signature import PublicKey
from edge_ad.cli.options import errors, out, print_json
from edge_ad.errors import EdgeAdError, UsageError
from edge_ad.runtime.deployment.remote.address import SshAddress, parse_address
from edge_ad.runtime.deployment.remote.flash import Outcome

AT_ONCE = 8


@dataclass(frozen=True)
class Options:
    """What the command line says beside bundle and addresses."""

    target: str | None
    signed_by: tuple[PublicKey, ...]
    remote_command: str
    restart: str | None
    wait_s: float
    dry_run: bool
    station: Path | None
    service_name: str | None
    service_folder: Path
    service_user: str | None


@dataclass(frozen=True)
class _Failed:
    """A device that was not flashed."""

    address: str
    error: EdgeAdError


def flash_devices(bundle: Path | None, addresses: Sequence[str], options: Options, as_json: bool) -> None:
    """Flash every address, or roll it back without a bundle; print how each fared and exit with the worst status.

    Raises UsageError for an address that is none, and what is wrong with the bundle, before any device is asked."""
    from edge_ad.bundle.archive import open_bundle
    from edge_ad.bundle.signature import require_signature

    devices = [parse_address(address) for address in addresses]
    if len(set(devices)) < len(devices):
        raise UsageError("one device is named twice")
    with ExitStack() as opened:
        source = None if bundle is None else opened.enter_context(open_bundle(bundle))
        if source is not None:
            if options.target is not None:
                source.manifest.payload(options.target)
            if options.signed_by:
                require_signature(source.digest, source.signatures, options.signed_by, where=str(bundle))
            source.verify()
        if options.station is not None:
            from edge_ad.runtime.station.config import read_station

            read_station(options.station)
        with _bars() as bar, ThreadPoolExecutor(AT_ONCE) as pool:
            waiting = [pool.submit(_one, source, device, options, bar) for device in devices]
            results = [each.result() for each in waiting]
    if as_json:
        print_json([_as_json(result) for result in results])
    else:
        _show(results, options)
    code = max(result.error.exit_code if isinstance(result, _Failed) else 0 for result in results)
    if code:
        sys.exit(code)


def _one(
    source: Any, device: SshAddress, options: Options, bar: Callable[[str], Callable[[int, int], None]]
) -> Outcome | _Failed:
    """One device; what goes wrong there stops no other."""
    from edge_ad.runtime.deployment.remote.flash import flash, install_station, roll_back

    how = {"remote_command": options.remote_command, "restart": options.restart, "wait_s": options.wait_s}
    try:
        if source is None:
            return roll_back(device, **how)  # type: ignore[arg-type]
        if options.station is not None and not options.dry_run:
            # Refused before anything is written: a unit without its bundle would start nothing.
            flash(source, device, target=options.target, dry_run=True, remote_command=options.remote_command)
            install_station(
                device, options.station, name=options.service_name, folder=str(options.service_folder),
                user=options.service_user, remote_command=options.remote_command,
            )  # fmt: skip
        return flash(
            source, device, target=options.target, dry_run=options.dry_run, progress=bar(str(device)), **how  # type: ignore[arg-type]
        )  # fmt: skip
    except EdgeAdError as error:
        return _Failed(str(device), error)


def _as_json(result: Outcome | _Failed) -> dict[str, Any]:
    if isinstance(result, _Failed):
        kind = type(result.error).__name__
        return {
            "address": result.address,
            "error": str(result.error),
            "kind": kind,
            "exit_code": result.error.exit_code,
        }
    plan, done = result.plan, result.installed
    return {
        "address": result.address,
        "target": plan.target if plan is not None else None if done is None else done.target,
        "device": None if plan is None else plan.device.model_dump(mode="json", exclude={"has", "schema_"}),
        "sent_bytes": 0 if plan is None else plan.sent_bytes,
        "sent_files": [] if plan is None else list(plan.missing),
        "installed": None if done is None else done.model_dump(mode="json"),
        "seconds": round(result.elapsed_s, 3),
    }


def _show(results: Sequence[Outcome | _Failed], options: Options) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("device", "outcome", "payload", "engine", "live", "previous"):
        table.add_column(name, no_wrap=True)
    for name in ("sent", "golden, worst", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        table.add_row(*_row(result, options))
    # Where a terminal is narrower it wraps the lines; cut-off figures would help nobody.
    Console(highlight=False, width=max(out.width, 60 + max(len(r.address) + 80 for r in results))).print(
        table
    )
    for result in results:
        if isinstance(result, _Failed):
            errors.print(f"error: {result.error}", soft_wrap=True, markup=False, highlight=False)


def _row(result: Outcome | _Failed, options: Options) -> list[str]:
    if isinstance(result, _Failed):
        return [result.address, "failed"]
    plan, done = result.plan, result.installed
    sent = "-" if plan is None else decimal(plan.sent_bytes)
    if done is None:
        assert plan is not None
        live = (plan.device.live or "none")[:12]
        previous = (plan.device.previous or "none")[:12]
        return [
            result.address,
            "would be flashed",
            plan.target,
            plan.device.engines.get(plan.engine, "-"),
            live,
            previous,
            sent,
            "-",
            f"{result.elapsed_s:.1f}",
        ]
    outcome = "rolled back" if plan is None else "live"
    if done.restarted is not None:
        outcome += f", {done.restarted} up"
    golden = f"{done.worst_error:.2g} of {done.allowed:.2g}"
    return [
        result.address, outcome, done.target, _engine(done.ran_on), done.digest[:12],
        (done.previous or "none")[:12], sent, golden, f"{result.elapsed_s:.1f}",
    ]  # fmt: skip


def _engine(ran_on: str) -> str:
    """`onnxruntime 1.23.0 (tensorrt, ARMv8, int8)` to `onnxruntime tensorrt`."""
    engine, _, rest = ran_on.partition(" ")
    return f"{engine} {rest.partition('(')[2].partition(',')[0]}".strip().lower() or "-"


@contextmanager
def _bars() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """A bar of bytes for each device, on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=errors) as progress:

        def bar(name: str) -> Callable[[int, int], None]:
            task = progress.add_task(name, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        yield bar
