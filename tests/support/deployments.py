"""What the tests of deployment folders share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_ad.bundle.archive import open_bundle, write_bundle
from edge_ad.bundle.manifest import FileEntry, Manifest
from edge_ad.errors import DeployError

OpenFake = Callable[..., Any]
MakeBundle = Callable[..., Path]


def digest_of(path: Path) -> str:
    with open_bundle(path) as opened:
        return opened.digest


def listing(root: Path) -> set[str]:
    """Names in the root and in its releases."""
    return {str(path.relative_to(root)) for path in [*root.iterdir(), *(root / "releases").iterdir()]}


def whole(*kept: str) -> set[str]:
    """What a deployment folder holds after these releases, the live one first."""
    records = {f"releases/{digest}{suffix}" for digest in kept for suffix in ("", ".json")}
    return {".lock", "current", "releases", *records}


def tree(root: Path) -> dict[str, Any]:
    """Everything below a folder, by what it is and holds."""
    return {
        str(path.relative_to(root)): path.readlink()
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in root.rglob("*")
        if path.name != ".lock"
    }


def deploy_error(act: Callable[[], Any]) -> str:
    with pytest.raises(DeployError) as caught:
        act()
    text = str(caught.value)
    assert text.isprintable()
    return text


def damage_manifest(release: Path) -> None:
    (release / "manifest.json").write_bytes(b"not a manifest")


def changed(source: Path, path: Path, files: dict[str, bytes] | None = None, **update: Any) -> str:
    """A bundle like `source` with other content of some files and another payload; its digest. All digests are in
    order."""
    with open_bundle(source) as bundle:
        members = {name: bundle.read(name) for name in bundle.manifest.files} | (files or {})
        payload = bundle.manifest.payloads[0].model_copy(update=update)
        entries = {
            n: FileEntry(sha256=hashlib.sha256(c).hexdigest(), size=len(c)) for n, c in members.items()
        }
        manifest: Manifest = bundle.manifest.model_copy(update={"payloads": [payload], "files": entries})
    return write_bundle(path, manifest, members)
