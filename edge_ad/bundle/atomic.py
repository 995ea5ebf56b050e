"""Writing files so that a reader never sees half of one, and an older one survives any failure."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_ad.errors import BundleError

_HINTS = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some space or choose another place",
    errno.EFBIG: "raise the limit on file sizes or choose another place",
    errno.EACCES: "choose a place that you may write to",
    errno.EPERM: "choose a place that you may write to",
    errno.EROFS: "choose a place that you may write to",
    errno.ENOENT: "make its folder first",
}


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`: to a temporary name beside it, synced, then renamed over it.

    Raises BundleError with the cause (a full disk, a missing folder); nothing half-written stays behind, and
    what `path` held before is untouched until the new content is whole and on the disk.
    """
    write_atomic_chunks(path, (data,))


def write_atomic_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """As `write_atomic`, for content that is made piece by piece. An error of `chunks` leaves nothing either."""
    temporary = _temporary_beside(path)
    try:
        # O_EXCL never follows a link that waits under that name; the kernel applies the umask to 0666.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise _unwritable(error, path) from error


def write_new(path: Path, data: bytes, *, mode: int) -> None:
    """As `write_atomic`, with these permissions from the first moment on, and never over something that is there.

    Raises BundleError."""
    temporary = _temporary_beside(path)
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)  # fails where something has that name, unlike a rename
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except FileExistsError as error:
        raise _already_there(path) from error
    except OSError as error:
        raise _unwritable(error, path) from error


@contextmanager
def atomic_folder(destination: Path) -> Iterator[Path]:
    """A new folder beside `destination`, synced and renamed to it on success, removed on failure.

    Raises BundleError when `destination` exists (a dangling link counts) or cannot be made, and for any OSError
    of the body.
    """
    temporary = _temporary_beside(destination)
    try:
        _refuse_existing(destination)
        temporary.mkdir()
        try:
            yield temporary
            _sync_tree(temporary)
            _refuse_existing(destination)  # rename would replace an empty folder made meanwhile
            temporary.rename(destination)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(destination.parent)
    except OSError as error:
        raise _unwritable(error, destination) from error


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Raises OSError."""
    _sync(folder, os.O_DIRECTORY)


def _temporary_beside(path: Path) -> Path:
    # 40 characters are at most 160 bytes, so the name stays below the usual limit of 255.
    return path.parent / f".{path.name[:40]}.{secrets.token_hex(8)}.part"


def _refuse_existing(destination: Path) -> None:
    if os.path.lexists(destination):
        raise _already_there(destination)


def _already_there(path: Path) -> BundleError:
    return BundleError("is already there", where=path, hint="remove it or choose another name")


def _unwritable(error: OSError, path: Path) -> BundleError:
    hint = None if error.errno is None else _HINTS.get(error.errno)
    return BundleError(f"cannot be written ({error.strerror or error})", where=path, hint=hint)


def _sync_tree(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():  # the sync of its folder makes a link durable
            _sync(path, os.O_NOFOLLOW)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders, as some network mounts
            raise
    finally:
        os.close(handle)
