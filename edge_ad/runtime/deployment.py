"""A deployment folder: whole releases side by side, and one link that says which is live.

    ROOT/releases/<digest>/        an extracted bundle
    ROOT/releases/<digest>.json    which of its payloads was chosen for this device
    ROOT/current, ROOT/previous    links to releases

Only renaming the link `current` makes a release live, after its golden vectors passed. Whatever dies at whatever
moment, `current` points at a whole release; leftovers are swept by the next flash.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_ad.bundle.archive import open_bundle
from edge_ad.bundle.atomic import sync_folder, write_atomic
from edge_ad.bundle.manifest import MANIFEST_NAME, Manifest, Payload, digest, parse
from edge_ad.errors import DeployError, DigestError
from edge_ad.runtime.engines import open_engine as open_any_engine
from edge_ad.runtime.engines.base import Engine
from edge_ad.runtime.golden import GoldenResult, check_golden

CURRENT, PREVIOUS, RELEASES = "current", "previous", "releases"
LOCK_WAIT_S = 10.0

OpenEngine = Callable[[Payload, Path], Engine]


@dataclass(frozen=True)
class LiveBundle:
    """An extracted bundle. target: the payload chosen when it was flashed, None for a plain file."""

    manifest: Manifest
    digest: str
    folder: Path
    target: str | None


@dataclass(frozen=True)
class Deployment:
    """What a flash or a rollback left live. previous: digest of what a rollback would go back to."""

    digest: str
    previous: str | None
    target: str
    golden: GoldenResult
    folder: Path


def deploy(
    bundle: Path, root: Path, *, target: str | None = None, open_engine: OpenEngine = open_any_engine
) -> Deployment:
    """Copy `bundle` below `root`, have it prove itself there, and make it live.

    target: which payload; may be None for a bundle with one. Raises BundleError for an unusable bundle,
    ParityError when a golden vector disagrees, DeployError for an unusable folder; what was live then still is.
    """
    with _locked(root) as releases, open_bundle(bundle) as opened:
        payload = opened.manifest.payload(target)
        kept = {_linked(root, CURRENT), _linked(root, PREVIOUS)}
        _sweep(releases, kept)
        release = releases / opened.digest
        damaged = release.exists() and not _whole(release, opened.digest)
        if damaged:
            release.rename(releases / f".damaged-{opened.digest}")
        if not release.exists():
            opened.extract(release)
        try:
            check_files(release, opened.manifest)
            golden = _prove(payload, release, open_engine)
        except BaseException:
            if opened.digest not in kept:
                shutil.rmtree(release, ignore_errors=True)
            raise
        write_atomic(releases / f"{opened.digest}.json", json.dumps({"target": payload.target}).encode())
        _make_live(root, opened.digest)
        kept = {_linked(root, CURRENT), _linked(root, PREVIOUS)}
        _sweep(releases, kept)
        return Deployment(opened.digest, _previous(root), payload.target, golden, release)


def rollback(root: Path, *, open_engine: OpenEngine = open_any_engine) -> Deployment:
    """Make live again what was live before, once it has proved itself anew; the other way round to undo it.

    Raises DeployError when there is nothing to go back to, ParityError when it fails its vectors.
    """
    if not root.is_dir():
        raise DeployError("there is no such folder", where=root, hint="flash a bundle there first")
    with _locked(root):
        before = _previous(root)
        if before is None:
            raise DeployError("has no previous bundle to go back to", where=root)
        found = _load_release(root, before)
        payload = found.manifest.payload(found.target)
        golden = _prove(payload, found.folder, open_engine)
        _make_live(root, before)
        return Deployment(before, _previous(root), payload.target, golden, found.folder)


def live(root: Path) -> LiveBundle:
    """What is live in `root`, its digests checked. Raises DeployError, DigestError for a file that was altered."""
    name = _linked(root, CURRENT)
    if name is None:
        raise DeployError(
            "holds no live bundle", where=root, hint=f"edge-ad flash part.edgead --to dir:{root}"
        )
    return _load_release(root, name)


@contextmanager
def load(address: str | Path) -> Iterator[LiveBundle]:
    """The bundle at `address`: `dir:FOLDER`, a deployment folder, or a .edgead file (extracted for as long as needed).

    Raises DeployError or BundleError.
    """
    text = str(address)
    path = Path(text[4:] if text.startswith("dir:") else text)
    if text.startswith("dir:") or path.is_dir():
        yield live(path)
        return
    with open_bundle(path) as opened, tempfile.TemporaryDirectory(prefix="edge-ad-") as folder:
        release = Path(folder) / opened.digest
        opened.extract(release)
        yield LiveBundle(opened.manifest, opened.digest, release, None)


def check_files(folder: Path, manifest: Manifest) -> None:
    """Read every file of an extracted bundle back. Raises DigestError for the first that is not as it should be."""
    for name, entry in manifest.files.items():
        path = folder / name
        try:
            with path.open("rb") as file:
                found = hashlib.sha256()
                while block := file.read(1 << 20):
                    found.update(block)
        except OSError as error:
            raise DigestError(
                f"cannot be read ({error.strerror})", where=path, hint="flash it again"
            ) from error
        if found.hexdigest() != entry.sha256:
            raise DigestError("is not what the manifest says", where=path, hint="flash it again")


def _prove(payload: Payload, folder: Path, open_engine: OpenEngine) -> GoldenResult:
    engine = open_engine(payload, folder)
    try:
        golden = check_golden(payload, folder, engine)
    finally:
        engine.close()
    golden.require()
    return golden


def _make_live(root: Path, name: str) -> None:
    """Point `current` at release `name`, and `previous` at what was live, in an order that a crash cannot spoil."""
    before = _linked(root, CURRENT)
    if before == name:
        return
    if before is not None:
        _point(root, PREVIOUS, before)
    _point(root, CURRENT, name)


def _point(root: Path, link: str, name: str) -> None:
    temporary = root / f".{link}.new"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(Path(RELEASES) / name)
    temporary.replace(root / link)
    sync_folder(root)


def _linked(root: Path, link: str) -> str | None:
    """Name of the release that a link points at, None without the link."""
    try:
        return (root / link).readlink().name
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DeployError(f"'{link}' is no link ({error.strerror})", where=root) from error


def _previous(root: Path) -> str | None:
    name = _linked(root, PREVIOUS)
    return None if name == _linked(root, CURRENT) else name


def _load_release(root: Path, name: str) -> LiveBundle:
    folder = root / RELEASES / name
    hint = f"edge-ad flash part.edgead --to dir:{root}"
    try:
        raw = (folder / MANIFEST_NAME).read_bytes()
        chosen = json.loads((root / RELEASES / f"{name}.json").read_bytes())["target"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeployError(f"release {name[:12]} is not whole", where=root, hint=hint) from error
    manifest = parse(raw, where=str(folder))
    if digest(manifest) != name:
        raise DigestError("the manifest was altered after it was flashed", where=folder, hint=hint)
    check_files(folder, manifest)
    return LiveBundle(manifest, name, folder, str(chosen))


def _whole(release: Path, name: str) -> bool:
    """Whether an extracted release is undamaged."""
    try:
        manifest = parse((release / MANIFEST_NAME).read_bytes())
        check_files(release, manifest)
    except (OSError, DigestError):
        return False
    return digest(manifest) == name


def _sweep(releases: Path, kept: set[str | None]) -> None:
    """Remove what neither link points at: older releases, and leftovers of a flash that died."""
    for path in releases.iterdir():
        if path.name.removesuffix(".json") in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def _locked(root: Path) -> Iterator[Path]:
    """The releases folder of `root`, with nobody else flashing it. Raises DeployError."""
    try:
        releases = root / RELEASES
        releases.mkdir(parents=True, exist_ok=True)
        handle = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DeployError(
            f"cannot be used ({error.strerror})", where=root, hint="check its permissions"
        ) from error
    try:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise DeployError(
                        "is being flashed by someone else", where=root, hint="wait until that is done"
                    ) from error
                time.sleep(0.1)
        yield releases
    finally:
        os.close(handle)
