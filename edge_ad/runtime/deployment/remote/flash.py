"""One bundle onto one device over SSH, step by step: ask, choose, send what it lacks, have it prove itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_ad.bundle.archive import Bundle
from edge_ad.bundle.manifest import Manifest, Payload
from edge_ad.errors import DeployError, SchemaError
from edge_ad.runtime.deployment.remote.address import SshAddress
from edge_ad.runtime.deployment.remote.protocol import Device, Header, Installed, parse_answer, understood
from edge_ad.runtime.deployment.remote.transport import Connection

Progress = Callable[[int, int], None]
_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class Plan:
    """What a flash would do. engine: that of the payload. missing: members to be sent; sent_bytes: of them."""

    device: Device
    target: str
    engine: str
    missing: tuple[str, ...]
    sent_bytes: int


@dataclass(frozen=True)
class Outcome:
    """What it did. installed: None after a dry run."""

    address: str
    plan: Plan | None
    installed: Installed | None
    elapsed_s: float


def flash(
    bundle: Bundle, address: SshAddress, *, target: str | None = None, remote_command: str = "edge-ad",
    restart: str | None = None, wait_s: float = 60.0, dry_run: bool = False,
    progress: Progress = lambda done, total: None,
) -> Outcome:  # fmt: skip
    """Send what the device lacks of `bundle` and have it go live there, once it has proved itself there.

    target: which payload; None for the only one that the device can run. restart: a systemd unit to restart then;
    when it does not come up the device goes back by itself. dry_run: change nothing. progress: is told bytes sent
    and in all. Raises what `edge_ad.runtime.deployment.deploy` does, as the device raised it, and DeployError,
    before anything is sent, for a device that cannot be reached or cannot run the bundle.
    """
    begun = time.monotonic()
    with Connection(address, remote_command) as connection:
        plan = _plan(bundle, connection, target)
        if dry_run:
            return Outcome(str(address), plan, None, time.monotonic() - begun)
        header = Header(
            digest=bundle.digest,
            manifest=bundle.manifest_text,
            signatures=None if bundle.signatures is None else bundle.signatures.decode("utf-8", "replace"),
            target=plan.target,
            sent=[bundle.manifest.files[name].sha256 for name in plan.missing],
            restart=restart,
            wait_s=wait_s,
        )
        stream = _stream(bundle, header, plan, progress)
        answer = parse_answer(connection.ask("install", address.folder, stdin=stream), where=str(address))
    installed = understood(Installed, answer, where=str(address))
    return Outcome(str(address), plan, installed, time.monotonic() - begun)


def roll_back(
    address: SshAddress, *, remote_command: str = "edge-ad", restart: str | None = None, wait_s: float = 60.0
) -> Outcome:
    """Have the device go back to the bundle before. Raises as `edge_ad.runtime.deployment.rollback`, and
    DeployError."""
    begun = time.monotonic()
    options = [] if restart is None else ["--restart", restart, "--wait", f"{wait_s:g}"]
    with Connection(address, remote_command) as connection:
        answer = parse_answer(connection.ask("rollback", *options, address.folder), where=str(address))
    return Outcome(
        str(address), None, understood(Installed, answer, where=str(address)), time.monotonic() - begun
    )


def install_station(
    address: SshAddress, station: Path, *, name: str | None, folder: str, user: str | None,
    remote_command: str = "edge-ad",
) -> str:  # fmt: skip
    """Send a station file and have the device write a systemd unit for it. Returns the unit's path there.

    Raises DeployError, StationError as the device does."""
    options = ["--folder", folder, *([] if user is None else ["--user", user])]
    options += ["--name", name or f"edge-ad-{station.stem}"]
    with Connection(address, remote_command) as connection:
        raw = connection.ask("service", *options, address.folder, stdin=[station.read_bytes()])
    return str(parse_answer(raw, where=str(address))["unit"])


def choose(manifest: Manifest, device: Device, target: str | None, *, where: str) -> Payload:
    """The payload called `target`, or the only one that the device can run. Raises SchemaError, DeployError."""
    if target is not None:
        payload = manifest.payload(target)
        if (reason := _unfit(payload, device)) is not None:
            raise DeployError(f"cannot run the payload for '{payload.target}': {reason}", where=where)
        return payload
    reasons = {payload.target: _unfit(payload, device) for payload in manifest.payloads}
    fit = [name for name, reason in reasons.items() if reason is None]
    if len(fit) == 1:
        return manifest.payload(fit[0])
    if not fit:
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise DeployError(f"has no payload for this device ({told})", where=where)
    raise SchemaError("no target was named", where=where, hint=f"this device can run: {', '.join(fit)}")


def _unfit(payload: Payload, device: Device) -> str | None:
    """Why a device cannot run a payload, or None."""
    if payload.engine == "board":
        return "it is for a microcontroller"
    if payload.architectures and device.machine not in payload.architectures:
        return f"it is for {', '.join(payload.architectures)}, this is {device.machine}"
    if payload.engine not in device.engines:
        return f"its engine is not installed there: pip install 'edge-ad[{payload.engine}]'"
    return None


def _plan(bundle: Bundle, connection: Connection, target: str | None) -> Plan:
    where = str(connection.address)
    answer = parse_answer(connection.ask("ask", connection.address.folder), where=where)
    device: Device = understood(Device, answer, where=where)
    payload = choose(bundle.manifest, device, target, where=where)
    files, has = bundle.manifest.files, set(device.has)
    missing: dict[str, str] = {}  # by digest: a file that is there twice is sent once
    for name in sorted(files):
        if files[name].sha256 not in has:
            missing.setdefault(files[name].sha256, name)
    sent = sum(files[name].size for name in missing.values())
    # What is sent, the bundle put together again, and the release.
    needed = sent + 2 * sum(entry.size for entry in files.values())
    if needed > device.free_bytes:
        raise DeployError(
            f"needs {needed / 1e6:.1f} MB there and {device.free_bytes / 1e6:.1f} MB are free", where=where,
            hint="free some space or choose another folder",
        )  # fmt: skip
    return Plan(device, payload.target, payload.engine, tuple(missing.values()), sent)


def _stream(bundle: Bundle, header: Header, plan: Plan, progress: Progress) -> Iterator[bytes]:
    yield json.dumps(header.model_dump(mode="json")).encode() + b"\n"
    sent = 0
    progress(sent, plan.sent_bytes)
    for name in plan.missing:
        content = bundle.read(name)
        for begin in range(0, len(content), _CHUNK_BYTES):
            chunk = content[begin : begin + _CHUNK_BYTES]
            yield chunk
            sent += len(chunk)
            progress(sent, plan.sent_bytes)
