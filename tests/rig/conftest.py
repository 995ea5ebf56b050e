"""Small bundles, made once, and a folder of locks of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rig_bundles import make_bundle


@pytest.fixture(autouse=True)
def _own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AD_LOCKS", str(tmp_path / "locks"))


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A bundle by its network's name, made when it is first asked for."""
    made: dict[str, Path] = {}

    def bundle(name: str) -> Path:
        if name not in made:
            made[name] = make_bundle(tmp_path_factory.mktemp("bundle"), name)
        return made[name]

    return bundle
