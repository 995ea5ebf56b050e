"""Who works and who measures: locks between the processes of one machine, which a process that is killed lets go of."""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

_held = threading.local()  # work: the handle by which this thread says that it is busy


@contextmanager
def busy() -> Iterator[None]:
    """Work that would disturb a neighbour's timing: begins once none is taken. Must not be nested.

    Long work calls `give_way` now and then, so that timings need not wait for its end.
    """
    folder = _folder()
    with locked(folder / "gate"):
        work = _open(folder / "work")
        try:
            fcntl.flock(work, fcntl.LOCK_SH)
        except BaseException:
            os.close(work)
            raise
    _held.work = work
    try:
        yield
    finally:
        _held.work = None
        os.close(work)


def give_way() -> None:
    """Inside of `busy`: rest while a neighbour who waits for it takes a timing. Elsewhere it does nothing."""
    work = getattr(_held, "work", None)
    if work is None:
        return
    gate = _open(_folder() / "gate")
    try:
        fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(work, fcntl.LOCK_UN)
        fcntl.flock(gate, fcntl.LOCK_EX)  # who takes a timing holds it until that is done
        fcntl.flock(work, fcntl.LOCK_SH)
    finally:
        os.close(gate)


@contextmanager
def alone() -> Iterator[None]:
    """A timing: waits until no neighbour is busy, and holds them off. Not inside of `busy`.

    The gate is held all the while, so that those who come later do not overtake.
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
