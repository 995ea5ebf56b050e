"""A deployment folder: whole releases side by side, and one link that says which is live.

    ROOT/releases/<digest>/        an extracted bundle
    ROOT/releases/<digest>.json    which of its payloads was chosen for this device, and what was live before
    ROOT/current                   a link to the release that is live

A release is proven on its golden vectors in a staging folder before it gets its name, and only renaming the link
makes it live. Whatever dies at whatever moment, `current` names a whole release, and what was live before is
known; leftovers are swept by the next flash. `docs/deployment.md` has the details.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_ad.bundle.archive import Bundle, open_bundle
from edge_ad.bundle.atomic import write_atomic
from edge_ad.bundle.manifest import SIGNATURES_NAME, Manifest, Payload
from edge_ad.bundle.names import shown
from edge_ad.bundle.signature import PublicKey, require_signature
from edge_ad.errors import DeployError, EdgeAdError
from edge_ad.runtime.deployment.folder import (
    CURRENT,
    RELEASES,
    STAGED,
    Choice,
    Pair,
    folder_errors,
    live_digest,
    locked,
    make_folder,
    put_in_place,
    read_pair,
    sweep,
    switch,
)
from edge_ad.runtime.deployment.release import (
    check_files,
    check_release,
    needed,
    read_manifest,
    read_signatures,
)
from edge_ad.runtime.engines import open_engine as open_any_engine
from edge_ad.runtime.engines.base import Engine
from edge_ad.runtime.golden import GoldenResult, check_golden

__all__ = [
    "CURRENT",
    "RELEASES",
    "Deployment",
    "LiveBundle",
    "OpenEngine",
    "check_files",
    "deploy",
    "live",
    "load",
    "rollback",
]

OpenEngine = Callable[[Payload, Path], Engine]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveBundle:
    """An extracted bundle. target: the payload asked for, else the one chosen when it was flashed, else None.

    Of a deployment folder, the files of that payload have been checked, and no others. signatures: its
    `signatures.json`, confirmed only where a signature was asked for.
    """

    manifest: Manifest
    digest: str
    folder: Path
    target: str | None
    signatures: bytes | None = None


@dataclass(frozen=True)
class Deployment:
    """What a flash or a rollback left live. previous: digest of what a rollback would go back to.

    That is `digest` itself when only the target was changed.
    """

    digest: str
    previous: str | None
    target: str
    golden: GoldenResult
    folder: Path


def deploy(
    bundle: Path, root: Path, *, target: str | None = None, signed_by: Sequence[PublicKey] = (),
    open_engine: OpenEngine = open_any_engine,
) -> Deployment:  # fmt: skip
    """Copy `bundle` below `root`, have it prove itself there, and make it live.

    target: which payload; may be None for a bundle with one. signed_by: one of these keys must have signed it. A
    release that is there already is proved anew, and replaced when a file of it is damaged. Raises BundleError for
    an unusable bundle (nothing is made in `root`), SignatureError likewise, EngineError or MissingDependencyError
    when its network cannot be opened, ParityError when a golden vector disagrees, DeployError for an unusable
    folder. What was live then still is, but for one case: a disk that fails to confirm the switch itself may have
    either.
    """
    with open_bundle(bundle) as opened:
        payload = opened.manifest.payload(target)
        if signed_by:
            require_signature(opened.digest, opened.signatures, signed_by, where=str(bundle))
        opened.verify()
        with folder_errors(root):
            live_digest(root)  # a folder of something else is left as it is
            make_folder(root.absolute() / RELEASES)
        with folder_errors(root), locked(root):
            before = _make_room(root)
            golden = _install(opened, payload, root, open_engine)
            chosen = Choice(digest=opened.digest, target=payload.target)
            pair = Pair(chosen) if before is None else before.followed_by(chosen)
            switch(root, pair)
            sweep(root, pair)
            return _deployment(root, pair, golden)


def rollback(
    root: Path, *, signed_by: Sequence[PublicKey] = (), open_engine: OpenEngine = open_any_engine
) -> Deployment:
    """Make live again what was live before, once it has proved itself anew; the other way round to undo it.

    signed_by: one of these keys must have signed it. Raises SignatureError, DeployError when there is nothing to go
    back to or the folder is unusable, DigestError when a file of it was altered, ParityError when it fails its
    vectors. What was live then still is, as after `deploy`.
    """
    with folder_errors(root):
        if not root.is_dir():
            raise DeployError("there is no such folder", where=root, hint="flash a bundle there first")
        _require_live(root)
    with folder_errors(root), locked(root):
        before = _require_live(root)
        chosen = before.previous
        if chosen is None:
            raise DeployError("has no previous bundle to go back to", where=root, hint=_hint(root))
        sweep(root, before)
        found = _load_release(root, chosen, from_medium=True, signed_by=signed_by)
        golden = _prove(found.manifest.payload(chosen.target), found.folder, open_engine, root)
        pair = before.followed_by(chosen)
        switch(root, pair)
        return _deployment(root, pair, golden)


def live(root: Path, *, target: str | None = None, signed_by: Sequence[PublicKey] = ()) -> LiveBundle:
    """What is live in `root`: its manifest, the files of one payload and its golden vectors, digests checked.

    target: the payload that will be used, None for the one chosen when it was flashed. signed_by: one of these keys
    must have signed it. Raises SignatureError when none has, DeployError for a folder without a live bundle or that
    cannot be read, DigestError for a file that was altered, SchemaError for an unknown `target`.
    """
    with folder_errors(root):
        pair = _require_live(root)
        return _load_release(root, pair.live, target=target, signed_by=signed_by)


@contextmanager
def load(
    address: str | Path, *, target: str | None = None, signed_by: Sequence[PublicKey] = ()
) -> Iterator[LiveBundle]:
    """The bundle at `address`: `dir:FOLDER`, a deployment folder, or a .edgead file (extracted for as long as needed).

    target, signed_by: see `live`. Raises DeployError or BundleError.
    """
    text = str(address)
    path = Path(text[4:] if text.startswith("dir:") else text)
    with folder_errors(path):
        is_folder = text.startswith("dir:") or path.is_dir()
    if is_folder:
        yield live(path, target=target, signed_by=signed_by)
        return
    with open_bundle(path) as opened:
        if signed_by:
            require_signature(opened.digest, opened.signatures, signed_by, where=str(path))
        if target is not None:
            opened.manifest.payload(target)
        try:
            temporary = tempfile.TemporaryDirectory(prefix="edge-ad-", ignore_cleanup_errors=True)
        except OSError as error:
            raise DeployError(
                f"there is no place to extract it to ({error.strerror})",
                where=path,
                hint="set TMPDIR to a folder with room",
            ) from error
        with temporary as folder:
            release = Path(folder) / opened.digest
            opened.extract(release)
            yield LiveBundle(opened.manifest, opened.digest, release, target, opened.signatures)


def _make_room(root: Path) -> Pair | None:
    """What is live before a flash, after sweeping what is not of it.

    None when nothing is, or when its record is damaged; then nothing is swept until the new bundle is live.
    """
    name = live_digest(root)
    pair = None if name is None else read_pair(root, name)
    if name is not None and pair is None:
        log.warning("%s: the record of %s is damaged; there will be nothing to go back to", root, name[:12])
    else:
        sweep(root, pair)
    return pair


def _require_live(root: Path) -> Pair:
    """The pair of `root`, with a live bundle. Raises DeployError."""
    name = live_digest(root)
    if name is None:
        raise DeployError("holds no live bundle", where=root, hint=_hint(root))
    pair = read_pair(root, name)
    if pair is None:
        raise DeployError(f"the record of {name[:12]} is missing or damaged", where=root, hint=_hint(root))
    return pair


def _install(opened: Bundle, payload: Payload, root: Path, open_engine: OpenEngine) -> GoldenResult:
    """Have a whole and proven release of `opened` in its place; on any error nothing there has changed."""
    release = root / RELEASES / opened.digest
    if _is_whole(release, opened.digest):
        if opened.signatures is not None:
            write_atomic(release / SIGNATURES_NAME, opened.signatures)
        return _prove(payload, release, open_engine, opened.path)
    # The folder that mkdtemp makes is this user's alone; what is extracted in it follows the umask.
    staging = Path(tempfile.mkdtemp(prefix=STAGED, dir=root / RELEASES))
    try:
        folder = staging / opened.digest
        opened.extract(folder)
        check_release(folder, opened.digest, from_medium=True)
        golden = _prove(payload, folder, open_engine, opened.path)
        put_in_place(folder, release)
        return golden
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_whole(release: Path, digest: str) -> bool:
    if not os.path.lexists(release):
        return False
    try:
        check_release(release, digest, from_medium=True)
    except EdgeAdError as error:
        log.warning("%s; it is being replaced", error)
        return False
    return True


def _prove(payload: Payload, folder: Path, open_engine: OpenEngine, where: Path) -> GoldenResult:
    engine = open_engine(payload, folder)
    try:
        golden = check_golden(payload, folder, engine)
    finally:
        engine.close()
    golden.require(where=where)
    return golden


def _load_release(
    root: Path, choice: Choice, *, target: str | None = None, from_medium: bool = False,
    signed_by: Sequence[PublicKey] = (),
) -> LiveBundle:  # fmt: skip
    """A release as it was chosen, or its payload for another `target`, and the files of that payload checked."""
    folder = root / RELEASES / choice.digest
    manifest = read_manifest(folder, choice.digest, from_medium=from_medium)
    signatures = read_signatures(folder)
    if signed_by:
        require_signature(choice.digest, signatures, signed_by, where=str(root))
    if choice.target not in [payload.target for payload in manifest.payloads]:
        raise DeployError(
            f"{choice.digest[:12]} is recorded for target '{shown(choice.target)}', which it has no payload for",
            where=root,
            hint=_hint(root),
        )
    payload = manifest.payload(target or choice.target)
    check_files(folder, manifest, names=needed(payload), from_medium=from_medium)
    return LiveBundle(manifest, choice.digest, folder, payload.target, signatures)


def _deployment(root: Path, pair: Pair, golden: GoldenResult) -> Deployment:
    previous = None if pair.previous is None else pair.previous.digest
    return Deployment(
        pair.live.digest, previous, pair.live.target, golden, root / RELEASES / pair.live.digest
    )


def _hint(root: Path) -> str:
    return f"edge-ad flash part.edgead --to dir:{root}"
