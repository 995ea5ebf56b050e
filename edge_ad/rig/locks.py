"""One rig at a time for each device: a lock file named after the device, held by flock.

The lock goes with the process that holds it, however that ends; what the file says is for people, and only counts
while it is held. Devices are locked in one order, so that two rigs never wait for each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import hashlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path

from edge_ad.bundle.names import shown
from edge_ad.errors import LockedError
from edge_ad.rig.config import Rig
from edge_ad.rig.devices import identity
from edge_ad.rig.tables import DeviceTable

FOLDER = "EDGE_AD_LOCKS"  # an environment variable
_SYSTEM = Path("/run/lock")
_POLL_S = 0.1
_MOST_BYTES = 4096


def lock_folder() -> Path:
    """Where the lock files of all users lie: EDGE_AD_LOCKS, else /run/lock/edge-ad, else the same in /tmp."""
    if given := os.environ.get(FOLDER):
        return Path(given)
    base = _SYSTEM if os.access(_SYSTEM, os.W_OK) else Path(tempfile.gettempdir())
    return base / "edge-ad"


@contextlib.contextmanager
def lock_devices(
    rig: Rig, *, wait_s: float = 0.0, devices: Iterable[DeviceTable] | None = None,
    waiting: Callable[[str], None] = lambda told: None,
) -> Iterator[None]:  # fmt: skip
    """Hold all devices of a rig, or these. wait_s: in all, for others that hold one. waiting: told once who does.

    Raises LockedError that says who holds a device.
    """
    wanted = {identity(device, rig): device.name for device in (rig.devices if devices is None else devices)}
    deadline = time.monotonic() + wait_s
    with contextlib.ExitStack() as held:
        for key in sorted(wanted):
            held.enter_context(_locked(key, wanted[key], rig, deadline, waiting))
        yield


@contextlib.contextmanager
def _locked(key: str, name: str, rig: Rig, deadline: float, waiting: Callable[[str], None]) -> Iterator[None]:
    path = lock_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.lock"
    handle, told = _open(path, name), False
    try:
        while not _taken(handle):
            holder = _holder(handle)
            if time.monotonic() >= deadline:
                raise LockedError(
                    f"is held by {holder}", where=f"device '{name}'", hint="wait for it with --wait 600"
                )
            if not told:
                waiting(f"device '{name}' is held by {holder}; waiting")
                told = True
            time.sleep(_POLL_S)
        _write(handle, key, rig)
        yield
        os.ftruncate(handle, 0)
        fcntl.flock(handle, fcntl.LOCK_UN)  # at once, even if a process that is just being started has a copy
    finally:
        os.close(handle)


def _open(path: Path, name: str) -> int:
    """The lock file, writable for every user. It is never removed: another may be about to lock it."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o1777)
        try:  # not with O_CREAT: Linux refuses that for a file of another user's in a folder like /tmp
            return os.open(path, flags)
        except FileNotFoundError:
            pass
        try:
            handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
            os.fchmod(handle, 0o666)
            return handle
        except FileExistsError:
            return os.open(path, flags)
    except OSError as error:
        raise LockedError(
            f"device '{name}' cannot be locked there ({error.strerror})", where=path,
            hint=f"set {FOLDER} to a folder that all who share the device may write to",
        ) from error  # fmt: skip


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(handle: int, key: str, rig: Rig) -> None:
    told = {
        "device": key, "rig": str(rig.path.absolute()), "pid": os.getpid(), "host": socket.gethostname(),
        "user": _user(),
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }  # fmt: skip
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(told).encode(), 0)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in some containers
        return str(os.getuid())


def _holder(handle: int) -> str:
    """Who holds it, as the file tells; that it tells nothing yet is possible for a moment."""
    try:
        told = json.loads(os.pread(handle, _MOST_BYTES, 0))
        return shown(
            f"{told['user']}@{told['host']} (process {told['pid']}, {told['rig']}, since {told['since']})"
        )
    except (ValueError, KeyError, TypeError):
        return "another rig"
