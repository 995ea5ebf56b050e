"""Commands on a device, by OpenSSH's own client: keys, agents, jump hosts and known hosts are as the user has them."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO

from edge_ad.bundle.names import shown
from edge_ad.errors import DeployError, UsageError
from edge_ad.runtime.deployment.remote.address import SshAddress

CONNECT_S = 15
_POLL_S = 0.02
_OPTIONS = [
    "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}", "-o", "ServerAliveInterval=15",
    "-o", "ServerAliveCountMax=3",
]  # fmt: skip
# By what ssh says of a failure of its own, what to try.
_HINTS = {
    "Host key verification failed": "log in once by hand and compare its key: ssh {host}",
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "it may be another machine; compare its key before you trust it",
    "Permission denied": "give the device your public key: ssh-copy-id {host}",
    "Could not resolve": "check the name of the host",
    "Connection refused": "check that sshd runs there, and its port",
    "timed out": "check that the device is on and can be reached",
    "No route to host": "check that the device is on and can be reached",
}


class Connection:
    """One login that serves all commands; a context manager that ends it. Raises DeployError when there is none."""

    def __init__(self, address: SshAddress, command: str = "edge-ad"):
        """command: what starts edge-ad there, e.g. /opt/edge-ad/bin/edge-ad. EDGE_AD_SSH names another ssh, with
        options (as the shell would split it)."""
        self.address = address
        self._command = shlex.split(command)
        if not self._command:
            raise UsageError("--remote-command is empty")
        self._ssh = shlex.split(os.environ.get("EDGE_AD_SSH", "ssh"))
        if not self._ssh or shutil.which(self._ssh[0]) is None:
            raise DeployError(
                "there is no ssh on this machine", where=str(address), hint="install OpenSSH's client"
            )
        self._port = [] if address.port is None else ["-p", str(address.port)]

    def __enter__(self) -> Connection:
        # A socket's path may have about 100 characters, which TMPDIR may exceed.
        short = len(tempfile.gettempdir()) < 60
        self._folder = tempfile.mkdtemp(prefix="edge-ad-", dir=None if short else "/tmp")
        self._socket = Path(self._folder) / "ssh"
        self._log = (Path(self._folder) / "log").open("w+b")
        try:
            # In the foreground, unlike with ControlPersist: a master that goes into the background keeps our
            # pipes open.
            self._master = subprocess.Popen(
                [*self._ssh, *_OPTIONS, *self._port, "-o", "ControlMaster=yes", "-o", f"ControlPath={self._socket}",
                 "-N", "-T", "--", self.address.destination],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._log,
            )  # fmt: skip
            self._wait_for_login()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def ask(self, *words: str, stdin: Iterable[bytes] = ()) -> bytes:
        """What `edge-ad receive WORDS…` there prints, given `stdin`, a failed one as well.

        Raises DeployError when ssh fails, when there is no edge-ad, or one that does not know the command.
        """
        remote = " ".join(shlex.quote(word) for word in (*self._command, "receive", *words))
        with tempfile.TemporaryFile(dir=self._folder) as log:
            process = subprocess.Popen(
                [*self._ssh, *_OPTIONS, *self._port, "-o", f"ControlPath={self._socket}", "-T", "--",
                 self.address.destination, remote],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
            try:
                _feed(process, stdin)
                answer = process.stdout.read() if process.stdout is not None else b""
                code = process.wait()
            except BaseException:
                process.kill()
                process.wait()
                raise
            finally:
                if process.stdout is not None:
                    process.stdout.close()
            self._check(code, answer, _last_lines(log))
        return answer

    def _check(self, code: int, answer: bytes, told: str) -> None:
        """Raise DeployError for what is no answer of the device."""
        where = str(self.address)
        if answer.strip() or code == 0:
            return
        if code == 255:
            raise DeployError(
                f"the connection was lost ({_last(told)})", where=where,
                hint="flash again: files that have arrived are kept",
            )  # fmt: skip
        if code in (126, 127):
            raise DeployError(
                f"there is no '{shlex.join(self._command)}' on the device ({_last(told)})", where=where,
                hint="install edge-ad there, or name it: --remote-command /opt/edge-ad/bin/edge-ad",
            )  # fmt: skip
        if "No such command" in told:
            raise DeployError(
                "the edge-ad there is too old to be flashed over ssh", where=where, hint="update it"
            )
        raise DeployError(f"edge-ad there failed with status {code} ({_last(told)})", where=where)

    def _wait_for_login(self) -> None:
        end = time.monotonic() + 4 * CONNECT_S  # a jump host takes its own time
        while not self._socket.exists():
            if self._master.poll() is not None or time.monotonic() > end:
                told = _last_lines(self._log)
                hint = next(
                    (hint for said, hint in _HINTS.items() if said in told), "try it by hand: ssh {host}"
                )
                raise DeployError(
                    f"there is no connection ({_last(told)})", where=str(self.address),
                    hint=hint.format(host=self.address.destination),
                )  # fmt: skip
            time.sleep(_POLL_S)

    def _close(self) -> None:
        master = getattr(self, "_master", None)
        if master is not None:
            master.kill()  # no command runs any more; asked to terminate it sometimes waits for nothing
            master.wait()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _feed(process: subprocess.Popen[bytes], stdin: Iterable[bytes]) -> None:
    """Write all of it. A process that reads no further says on its output why."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        for chunk in stdin:
            process.stdin.write(chunk)
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _last_lines(log: IO[bytes]) -> str:
    log.flush()
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - 4000))
    return log.read().decode("utf-8", "replace")


def _last(told: str) -> str:
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return shown(lines[-1]) if lines else "it said nothing"
