"""The device's side of a flash over SSH: what it says of itself, and what it does with what is sent.

Files arrive one by one, each kept below `ROOT/.incoming` under its digest once it is whole, so that a flash that was
cut off goes on where it was. When all are there the bundle is put together again and deployed as from a file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO

import edge_ad
from edge_ad.bundle.archive import write_bundle
from edge_ad.bundle.atomic import write_atomic, write_atomic_chunks
from edge_ad.bundle.layout import MAX_MANIFEST_BYTES
from edge_ad.bundle.manifest import Manifest, digest, parse
from edge_ad.errors import DeployError, DigestError, EdgeAdError, SizeError
from edge_ad.runtime.deployment import Deployment, OpenEngine, check_files, deploy, rollback
from edge_ad.runtime.deployment.folder import (
    RELEASES,
    folder_errors,
    live_digest,
    locked,
    make_folder,
    read_pair,
)
from edge_ad.runtime.deployment.release import read_manifest
from edge_ad.runtime.deployment.remote.protocol import MAX_LINE_BYTES, Device, Header, Installed, understood
from edge_ad.runtime.engines import open_engine as open_any_engine

INCOMING = ".incoming"
_CHUNK_BYTES = 1 << 20
_POLL_S = 0.2
_MAX_STATION_BYTES = 1 << 20
# By engine, the packages that it may come from.
_ENGINES = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "litert": ("ai-edge-litert", "tflite-runtime"),
}

log = logging.getLogger(__name__)


def describe(root: Path) -> Device:
    """What this device is, what is live in `root`, and which files need not be sent. Makes nothing.

    Raises DeployError for a folder of something else.
    """
    with folder_errors(root):
        live = live_digest(root) if root.is_dir() else None
        pair = None if live is None else read_pair(root, live)
        there = root
        while not there.is_dir():
            there = there.parent
        status = os.statvfs(there)
        return Device(
            version=edge_ad.__version__,
            machine=platform.machine(),
            system=platform.platform(),
            python=platform.python_version(),
            engines=dict(_engines()),
            live=live,
            previous=None if pair is None or pair.previous is None else pair.previous.digest,
            has=sorted(_found(root)),
            free_bytes=status.f_bavail * status.f_frsize,
        )


def install(root: Path, stream: BinaryIO, *, open_engine: OpenEngine = open_any_engine) -> Installed:
    """Take what `stream` brings and make it live, as `edge_ad.runtime.deployment.deploy` does.

    Raises what that raises, DeployError when the stream ends early or its unit does not come up; what was live then is.
    """
    header = _header(stream)
    manifest = parse(header.manifest.encode(), where=str(root))
    if digest(manifest) != header.digest:
        raise DigestError(
            "the manifest did not arrive as it was sent", where=root,
            hint="install the same version of edge-ad here and there",
        )  # fmt: skip
    with folder_errors(root):
        if root.is_dir():
            live_digest(root)  # a folder of something else is left as it is
        incoming = root.absolute() / INCOMING
        make_folder(incoming)
    with folder_errors(root), locked(incoming):
        _receive(stream, header, manifest, incoming)
        try:
            before = live_digest(root)
            with _whole(header, manifest, root, incoming) as bundle:
                done = deploy(bundle, root, target=header.target, open_engine=open_engine)
            if header.restart is not None:
                _restart_or_go_back(root, header.restart, header.wait_s, before, done, open_engine)
        finally:  # all of it has arrived: nothing is left to go on with
            shutil.rmtree(incoming, ignore_errors=True)
    return _installed(done, header.restart)


def go_back(
    root: Path, *, restart: str | None = None, wait_s: float = 60.0, open_engine: OpenEngine = open_any_engine
) -> Installed:
    """As `edge_ad.runtime.deployment.rollback`, and then a restart of the unit. Raises DeployError when it does not
    come up; the older bundle then stays live."""
    done = rollback(root, open_engine=open_engine)
    if restart is not None and (told := _restart(restart, wait_s)) is not None:
        raise DeployError(
            f"{done.digest[:12]} is live, but {told}", where=root, hint=f"journalctl -u {restart}"
        )
    return _installed(done, restart)


def take_station(root: Path, stream: BinaryIO, *, name: str, folder: Path, user: str | None) -> Path:
    """Keep a station file as `ROOT/station.toml`, once it has been read and checked, and write its unit.

    Returns the unit's path. Raises StationError, and as `edge_ad.runtime.operations.unit.install_unit`."""
    from edge_ad.runtime.operations.unit import install_unit, unit_text
    from edge_ad.runtime.station.config import read_station

    raw = stream.read(_MAX_STATION_BYTES + 1)
    if len(raw) > _MAX_STATION_BYTES:
        raise SizeError("the station file is larger than one may be", where=root)
    with folder_errors(root):
        make_folder(root.absolute())
        with tempfile.TemporaryDirectory(prefix=".station-", dir=root) as kept:
            station = Path(kept) / "station.toml"
            station.write_bytes(raw)
            read_station(station)
        write_atomic(root / "station.toml", raw)
    text = unit_text(
        name, command=[sys.executable, "-m", "edge_ad"], station=root.absolute() / "station.toml", user=user
    )
    return install_unit(text, name, folder)


def _installed(done: Deployment, restarted: str | None) -> Installed:
    golden = done.golden
    return Installed(
        digest=done.digest, previous=done.previous, target=done.target, vectors=golden.count,
        worst_error=golden.worst_error, allowed=golden.allowed, ran_on=golden.ran_on, restarted=restarted,
    )  # fmt: skip


def _engines() -> Iterator[tuple[str, str]]:
    for engine, packages in _ENGINES.items():
        for package in packages:
            try:
                yield engine, f"{package} {version(package)}"
                break
            except PackageNotFoundError:
                continue


def _found(root: Path) -> dict[str, Path]:
    """The files of releases and of what has arrived, by digest, each read and compared: a damaged one is sent anew."""
    found: dict[str, Path] = {}
    for path in sorted((root / INCOMING).glob("*")):
        if path.is_file() and not path.is_symlink() and len(path.name) == 64 and _sha256(path) == path.name:
            found[path.name] = path
    for folder in sorted((root / RELEASES).glob("*")):
        try:
            manifest = read_manifest(folder, folder.name)
        except EdgeAdError:  # a record, a leftover, a damaged release
            continue
        for name, entry in manifest.files.items():
            try:
                if entry.sha256 not in found:
                    check_files(folder, manifest, names=[name])
                    found[entry.sha256] = folder / name
            except EdgeAdError:
                continue
    return found


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()


def _header(stream: BinaryIO) -> Header:
    line = stream.readline(MAX_LINE_BYTES + 1)
    if not line.endswith(b"\n") or len(line) > MAX_LINE_BYTES:
        raise DeployError("what was sent ends before its first line does", where="receive")
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DeployError("what was sent does not begin with JSON", where="receive") from error
    header: Header = understood(Header, data, where="receive")
    if len(header.manifest) > MAX_MANIFEST_BYTES:
        raise SizeError("the manifest is larger than one may be", where="receive")
    return header


def _receive(stream: BinaryIO, header: Header, manifest: Manifest, incoming: Path) -> None:
    """Keep each file once it has arrived whole."""
    sizes = {entry.sha256: entry.size for entry in manifest.files.values()}
    for name in header.sent:
        if name not in sizes:
            raise DigestError("a file was sent that the manifest does not list", where=incoming)
        write_atomic_chunks(incoming / name, _checked(stream, name, sizes[name]))


def _checked(stream: BinaryIO, name: str, size: int) -> Iterator[bytes]:
    found, left = hashlib.sha256(), size
    while left:
        chunk = stream.read(min(_CHUNK_BYTES, left))
        if not chunk:
            raise DeployError(
                f"the connection ended with {left} bytes of a file to come", where="receive",
                hint="flash again: files that have arrived are kept",
            )  # fmt: skip
        left -= len(chunk)
        found.update(chunk)
        yield chunk
    if found.hexdigest() != name:
        raise DigestError("a file did not arrive as it was sent", where="receive", hint="flash again")


@contextmanager
def _whole(header: Header, manifest: Manifest, root: Path, incoming: Path) -> Iterator[Path]:
    """The bundle as a file, put together from what was sent and what was there."""
    found = _found(root)
    missing = [name for name, entry in manifest.files.items() if entry.sha256 not in found]
    if missing:
        raise DigestError(f"{missing[0]} was not sent and is not here", where=root, hint="flash again")
    members = {name: found[entry.sha256].read_bytes() for name, entry in manifest.files.items()}
    path = incoming / f"{header.digest}.edgead"
    signatures = None if header.signatures is None else header.signatures.encode()
    write_bundle(path, manifest, members, signatures=signatures)
    del members
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _restart_or_go_back(
    root: Path, unit: str, wait_s: float, before: str | None, done: Deployment, open_engine: OpenEngine
) -> None:
    """Restart the unit; when it does not come up, make live again what was, and start that. Raises DeployError."""
    told = _restart(unit, wait_s)
    if told is None:
        return
    hint = f"journalctl -u {unit}"
    if before is None or before == done.digest:
        raise DeployError(f"{told}, and there is no other bundle to go back to", where=root, hint=hint)
    log.warning("%s; going back to %s", told, before[:12])
    rollback(root, open_engine=open_engine)
    again = _restart(unit, wait_s)
    state = "which runs again" if again is None else f"but {again} with that, too"
    raise DeployError(f"{told}; rolled back to {before[:12]}, {state}", where=root, hint=hint)


def _restart(unit: str, wait_s: float) -> str | None:
    """Restart a systemd unit and wait until it is active, for Type=notify until it has said that it is ready. What went
    wrong, or None."""
    program = shutil.which("systemctl")
    if program is None:
        return f"the unit '{unit}' cannot be restarted, there is no systemctl"
    end = time.monotonic() + wait_s
    try:
        # The unit's file may be new.
        subprocess.run([program, "daemon-reload"], capture_output=True, timeout=wait_s, check=False)
        done = subprocess.run(
            [program, "restart", "--", unit], capture_output=True, text=True, timeout=wait_s, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the unit '{unit}' did not come up within {wait_s:g} s"
    if done.returncode:
        cause = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return f"the unit '{unit}' did not come up ({cause})"
    state = "unknown"
    while time.monotonic() < end:
        asked = [program, "is-active", "--", unit]
        state = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        if state == "active":
            return None
        if state == "failed":
            break
        time.sleep(_POLL_S)
    return f"the unit '{unit}' did not come up (it is {state})"
