"""What a deployment folder holds besides releases: which is live, which was before, and who works on it.

One link and one small file say everything, so that one rename changes everything: `current` names the release
that is live, and the record of that release names the payload that was chosen and what was live before. A record
is written before the link leads to it, so a crash at any moment leaves either the old pair or the new one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from edge_ad.bundle.atomic import sync_folder, write_atomic
from edge_ad.bundle.manifest import Label, Sha256, Spec
from edge_ad.bundle.names import shown
from edge_ad.errors import BundleError, DeployError, DigestError
from edge_ad.runtime.deployment.release import read_plain

CURRENT, RELEASES, LOCK = "current", "releases", ".lock"
STAGED = ".staged-"
LOCK_WAIT_S = 10.0

_RECORD_SCHEMA: Final = "edge-ad/release/1"
_MAX_RECORD_BYTES = 1 << 16
_NEW_LINK = f".{CURRENT}.new"
_LINK = re.compile(rf"{RELEASES}/([0-9a-f]{{64}})")
# Releases, their records, and what a flash that died may have left; anything else in the folder is not ours.
_OURS = re.compile(
    rf"(?P<digest>[0-9a-f]{{64}})(\.json)?|{re.escape(STAGED)}.*|\.[0-9a-f]{{40}}\.[0-9a-f]{{16}}\.part"
)
_HINTS = {
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EROFS: "mount it for writing or choose another folder",
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.EEXIST: "move away what is in its place, or choose another folder",
    errno.EISDIR: "move away what is in its place, or choose another folder",
    errno.ENOTDIR: "move away what is in its place, or choose another folder",
}
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h

log = logging.getLogger(__name__)


class Choice(Spec):
    """A bundle, and which of its payloads."""

    digest: Sha256
    target: Label


class _Record(Spec):
    """`releases/<digest>.json`: the payload chosen for this device, and what to go back to from this release."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["edge-ad/release/1"] = Field(default=_RECORD_SCHEMA, alias="schema")
    target: Label
    previous: Choice | None = None


@dataclass(frozen=True)
class Pair:
    """What is live, and what a rollback would make live."""

    live: Choice
    previous: Choice | None = None

    def followed_by(self, chosen: Choice) -> Pair:
        """The pair once `chosen` is live."""
        return self if chosen == self.live else Pair(chosen, self.live)


def live_digest(root: Path) -> str | None:
    """Digest of the release that `current` names, None without that link.

    Raises DeployError for a `current` or `releases` that no flash has made: both may belong to something else.
    """
    if (root / RELEASES).is_symlink():
        raise DeployError(
            f"'{RELEASES}' is a link", where=root, hint="make it a folder, or choose another place"
        )
    try:
        text = os.readlink(root / CURRENT)  # noqa: PTH115  (a Path would lose what makes it another link)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise DeployError(f"'{CURRENT}' is no link", where=root, hint="choose another folder") from error
    match = _LINK.fullmatch(text)
    if match is None:
        raise DeployError(
            f"'{CURRENT}' leads to {shown(text)}, which is no release",
            where=root,
            hint="remove that link or choose another folder",
        )
    return match.group(1)


def read_pair(root: Path, digest: str) -> Pair | None:
    """The pair by the record of `digest`, the live release; None when the record is missing or damaged."""
    try:
        raw = read_plain(root / RELEASES, f"{digest}.json", _MAX_RECORD_BYTES)
        record = _Record.model_validate_json(raw)
    except (DigestError, ValidationError):
        return None
    return Pair(Choice(digest=digest, target=record.target), record.previous)


def switch(root: Path, pair: Pair) -> None:
    """Make `pair.live`, whose release is in its place, live and `pair.previous` what a rollback goes back to."""
    record = _Record(target=pair.live.target, previous=pair.previous).model_dump(mode="json", by_alias=True)
    write_atomic(
        root / RELEASES / f"{pair.live.digest}.json", json.dumps(record, sort_keys=True).encode() + b"\n"
    )
    if live_digest(root) != pair.live.digest:
        temporary = root / _NEW_LINK
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(Path(RELEASES) / pair.live.digest)
        temporary.replace(root / CURRENT)
    sync_folder(root)


def put_in_place(staged: Path, release: Path) -> None:
    """Give a proven release its name. What has that name, a damaged release, is left beside where it was staged.

    The two are exchanged in one step where the file system can. Where it cannot, there is a moment without
    either; the damaged one comes back when the second step fails. `switch` makes the names durable.
    """
    if not os.path.lexists(release):
        staged.rename(release)
    elif not _exchange(staged, release):
        aside = staged.with_name("damaged")
        release.rename(aside)
        try:
            staged.rename(release)
        except BaseException:
            aside.rename(release)
            raise


def sweep(root: Path, pair: Pair | None) -> None:
    """Remove releases that are not of `pair`, and what a flash that died has left.

    Failures are logged: nothing depends on it.
    """
    choices = () if pair is None else (pair.live, pair.previous)
    kept = {choice.digest for choice in choices if choice is not None}
    try:
        leftovers = [
            path
            for path in (root / RELEASES).iterdir()
            if (ours := _OURS.fullmatch(path.name)) is not None and ours["digest"] not in kept
        ]
    except OSError as error:
        log.warning("leftovers in %s cannot be listed (%s)", root, error.strerror)
        return
    for path in [root / _NEW_LINK, *leftovers]:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("leftover %s cannot be removed (%s)", path, error.strerror)


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it, each synced into the one that holds it."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Nobody else flashes `root` meanwhile. Raises DeployError, after LOCK_WAIT_S, naming who does."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(root / LOCK, flags, 0o644)
    try:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
                    raise DeployError(
                        f"is being flashed by process {shown(holder or 'unknown')}",
                        where=root,
                        hint="wait until that is done",
                    ) from error
                time.sleep(0.05)
        with contextlib.suppress(OSError):  # for the message above only
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def folder_errors(root: Path) -> Iterator[None]:
    """Any failure of the file system in the body, as a DeployError that says where and what to try."""
    try:
        yield
    except OSError as error:
        raise _deploy_error(error, Path(os.fsdecode(error.filename or root))) from error
    except BundleError as error:
        # What atomic writes report below `root`; kinds of BundleError say what is wrong with a bundle.
        if type(error) is BundleError and isinstance(error.__cause__, OSError) and _below(error.where, root):
            raise _deploy_error(error.__cause__, root) from error
        raise


def _deploy_error(error: OSError, where: Path) -> DeployError:
    hint = _HINTS.get(error.errno) if error.errno is not None else None
    return DeployError(f"cannot be used ({error.strerror or error})", where=where, hint=hint)


def _below(where: str | None, root: Path) -> bool:
    return where is not None and root in Path(where).parents


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step, renameat2(2); False where the C library or the file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    names = (os.fsencode(one), os.fsencode(other))
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(other))
