"""Real sshd processes on this machine, each a device of its own: what the user's ssh would find behind a network."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Device:
    """One sshd. root: where bundles go."""

    port: int
    root: Path
    folder: Path

    @property
    def address(self) -> str:
        """For `flash --to`."""
        return f"ssh://127.0.0.1:{self.port}{self.root}"

    def log(self) -> str:
        """What sshd said."""
        return (self.folder / "log").read_text()


def program() -> str:
    """sshd's path. Skips the test where it or the client is missing."""
    found = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if found is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("openssh-server and openssh-client are not installed")
    return found


def keys(folder: Path) -> Path:
    """A pair of keys for the one who flashes; known_hosts is put beside it."""
    path = folder / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def client(identity: Path, known_hosts: Path) -> str:
    """The value of EDGE_AD_SSH that uses these and nothing of the machine's."""
    options = ["-F", "none", "-i", identity, "-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={known_hosts}",
               "-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes"]  # fmt: skip
    return shlex.join(["ssh", *map(str, options)])


def wrapper(path: Path, environment: Mapping[str, str] = {}, command: str | None = None) -> Path:
    """A script that is `edge-ad` on the device."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    start = command or f"{shlex.quote(sys.executable)} -m edge_ad"
    path.write_text(f'#!/bin/sh\ncd /\nexport PYTHONPATH={REPOSITORY}\n{exports}exec {start} "$@"\n')
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def running(folder: Path, identity: Path, known_hosts: Path, *lines: str) -> Iterator[Device]:
    """An sshd on a free port that lets the key of `identity` in; its own key goes into `known_hosts`. lines: more of
    its configuration."""
    sshd = program()
    folder.mkdir(parents=True)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where root's sshd keeps its privileges apart
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host"], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\n"
        f"AuthorizedKeysFile {identity}.pub\nPasswordAuthentication no\nUsePAM no\nStrictModes no\n"
        "PermitRootLogin yes\nMaxSessions 20\n" + "".join(f"{line}\n" for line in lines)
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sshd, "-D", "-e", "-f", folder / "config"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait_until_open(process, port, folder)
        public = (folder / "host.pub").read_text().split()[:2]
        with known_hosts.open("a") as file:
            file.write(f"[127.0.0.1]:{port} {' '.join(public)}\n")
        yield Device(port, folder / "line3", folder)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_open(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError((folder / "log").read_text())
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError("sshd did not open its port")
