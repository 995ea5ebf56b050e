"""One release: a bundle extracted into a folder, and the proof that it still is that bundle."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from edge_ad.bundle.layout import MAX_MANIFEST_BYTES, MAX_SIGNATURES_BYTES
from edge_ad.bundle.manifest import MANIFEST_NAME, SIGNATURES_NAME, FileEntry, Manifest, Payload, parse
from edge_ad.errors import DeployError, DigestError

_CHUNK_BYTES = 1 << 20
_FLASH_AGAIN = "flash it again"


def check_release(folder: Path, digest: str, *, from_medium: bool = False) -> Manifest:
    """The manifest of the release in `folder`, once all of it has been checked.

    Raises as `read_manifest` and `check_files` do.
    """
    manifest = read_manifest(folder, digest, from_medium=from_medium)
    check_files(folder, manifest, from_medium=from_medium)
    return manifest


def read_manifest(folder: Path, digest: str, *, from_medium: bool = False) -> Manifest:
    """The manifest of the release in `folder`, which must be that of the bundle of this digest.

    Raises DigestError for a folder or manifest that is missing, a link, or altered, DeployError for one that
    cannot be read, SchemaError for a manifest that this version does not know.
    """
    if not stat.S_ISDIR(_mode(folder)):
        raise DigestError("is missing or no folder", where=folder, hint=_FLASH_AGAIN)
    raw = read_plain(folder, MANIFEST_NAME, MAX_MANIFEST_BYTES, from_medium=from_medium)
    # Of the bytes, as an open bundle's: what they would mean to this version has no part in it.
    if hashlib.sha256(raw).hexdigest() != digest:
        raise DigestError(
            "is not the manifest that was flashed", where=folder / MANIFEST_NAME, hint=_FLASH_AGAIN
        )
    return parse(raw, where=str(folder))


def read_signatures(folder: Path) -> bytes | None:
    """The `signatures.json` of the release in `folder`, None without one. Raises as `check_files` does."""
    if not os.path.lexists(folder / SIGNATURES_NAME):
        return None
    return read_plain(folder, SIGNATURES_NAME, MAX_SIGNATURES_BYTES)


def needed(payload: Payload) -> list[str]:
    """The files by which a payload runs and proves itself."""
    return [*payload.files, payload.golden.file]


def check_files(
    folder: Path, manifest: Manifest, *, names: Collection[str] | None = None, from_medium: bool = False
) -> None:
    """Read the files of an extracted bundle back and compare their digests.

    names: which of them, None for all. from_medium: have the kernel forget what it holds of them in memory, so
    that the medium is read (Linux; a file that was just written must be synced before). Raises DigestError for
    the first that is missing, no plain file, or not what the manifest says, DeployError for one that cannot be
    read.
    """
    for name in manifest.files if names is None else names:
        _check_file(folder, name, manifest.files[name], from_medium)


def read_plain(folder: Path, name: str, limit: int, *, from_medium: bool = False) -> bytes:
    """The content of a plain file of at most `limit` bytes. Raises as `check_files` does."""
    with _opened(folder, name, from_medium) as handle:
        if os.fstat(handle).st_size > limit:
            raise DigestError(f"has more than {limit} bytes", where=folder / name, hint=_FLASH_AGAIN)
        return b"".join(_chunks(handle))


def _check_file(folder: Path, name: str, entry: FileEntry, from_medium: bool) -> None:
    found = hashlib.sha256()
    with _opened(folder, name, from_medium) as handle:
        if os.fstat(handle).st_size == entry.size:  # else there is no need to read it
            for chunk in _chunks(handle):
                found.update(chunk)
    if found.hexdigest() != entry.sha256:
        raise DigestError("is not what the manifest says", where=folder / name, hint=_FLASH_AGAIN)


@contextlib.contextmanager
def _opened(folder: Path, name: str, from_medium: bool) -> Iterator[int]:
    """A handle of the plain file `name`, reached through no link below `folder`."""
    path = folder / name
    try:
        if os.path.realpath(path) != str(Path(os.path.realpath(folder), name)):
            raise DigestError("is a link, or lies behind one", where=path, hint=_FLASH_AGAIN)
        # Not blocking, so that a pipe of that name is refused and not waited for.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise DigestError("is no plain file", where=path, hint=_FLASH_AGAIN)
            if from_medium:
                _forget(handle)
            yield handle
        finally:
            os.close(handle)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DigestError("is missing", where=path, hint=_FLASH_AGAIN) from error
    except OSError as error:
        raise _unreadable(error, path) from error


def _chunks(handle: int) -> Iterator[bytes]:
    while chunk := os.read(handle, _CHUNK_BYTES):
        yield chunk


def _forget(handle: int) -> None:
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):  # advice: a file system that cannot follow it is as good as before
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def _mode(path: Path) -> int:
    """The mode of `path` itself, a link or not; 0 without it."""
    try:
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise _unreadable(error, path) from error


def _unreadable(error: OSError, path: Path) -> DeployError:
    hint = "let the user of this process read it" if isinstance(error, PermissionError) else _FLASH_AGAIN
    return DeployError(f"cannot be read ({error.strerror or error})", where=path, hint=hint)
