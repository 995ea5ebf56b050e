"""Who works and who measures: locks between the processes of one machine, which a process that is killed lets go of."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path


@contextmanager
def busy() -> Iterator[None]:
    """Work that would disturb a neighbour's timing: begins once none is taken. Must not be nested."""
    folder = _folder()
    with locked(folder / "gate"):
        work = _open(folder / "work")
        try:
            fcntl.flock(work, fcntl.LOCK_SH)
        except BaseException:
            os.close(work)
            raise
    try:
        yield
    finally:
        os.close(work)


@contextmanager
def alone() -> Iterator[None]:
    """A timing: waits until no neighbour is busy, and holds them off. Not inside of `busy`.

    The gate is held while waiting, so that those who come later do not overtake.
    """
    folder = _folder()
    with locked(folder / "gate"), locked(folder / "work"):
        yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file `path`, made where it is missing, against all other threads and processes that ask for it."""
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def lock(name: str) -> AbstractContextManager[None]:
    """Hold a lock of this machine by its name. Not inside of `busy`."""
    return locked(_folder() / name)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"edge-ad-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
