"""Bundles of several kinds, made once, and a folder to flash to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_ad.runtime import deployment
from edge_ad.runtime.deployment import deploy

from deployments import MakeBundle, OpenFake, digest_of  # isort: skip


@pytest.fixture(scope="module")
def bundles(make_bundle: MakeBundle) -> list[Path]:
    return [make_bundle(name, gain) for name, gain in (("one", 1.0), ("two", 2.0), ("three", 3.0))]


@pytest.fixture(scope="module")
def digests(bundles: list[Path]) -> list[str]:
    return [digest_of(path) for path in bundles]


@pytest.fixture(scope="module")
def failing(make_bundle: MakeBundle) -> Path:
    return make_bundle("failing", 5.0, golden_gain=5.1)


@pytest.fixture(scope="module")
def both(make_bundle: MakeBundle) -> Path:
    return make_bundle("both", 4.0, ("board", "gateway"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "opt" / "line3"


@pytest.fixture
def flash(root: Path, open_fake: OpenFake) -> Callable[..., deployment.Deployment]:
    return lambda bundle, **options: deploy(bundle, root, **{"open_engine": open_fake, **options})
