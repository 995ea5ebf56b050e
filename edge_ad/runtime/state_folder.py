"""The folder that holds what has to survive a restart, and who may use it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_ad.errors import OutboxError

OUTBOX, LOCK = "outbox.db", "lock"


def state_folder(given: Path | None) -> Path | None:
    """The folder that is given, else the one that systemd gives (STATE_DIRECTORY), else None: nothing is kept."""
    if given is not None:
        return given
    found = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(found) if found else None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else uses this folder, which is made when it is missing. Raises OutboxError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise OutboxError(
            f"cannot be used ({error.strerror})", where=folder, hint="name a folder that can be written"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutboxError(
                "is in use by another edge-ad",
                where=folder,
                hint="stop that one, or name another state folder",
            ) from error
        yield
    finally:
        os.close(handle)
