"""What the tests of deployment folders share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_ad.bundle.archive import open_bundle
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
