"""Folders and links that are none of ours are left alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_ad.errors import (
    DeployError,
)
from edge_ad.runtime.deployment import live, rollback

from deployments import OpenFake, digest_of, listing, tree, whole  # isort: skip


@pytest.mark.parametrize(
    "text",
    ["releases/20240101", "/etc", "../line2/releases/" + "0" * 64, "releases/" + "0" * 63, "releases/" + "A" * 64,
     "./releases/" + "0" * 64, "releases//" + "0" * 64, "releases/" + "0" * 64 + "/", "releases/" + "0" * 64 + "\n",
     "releases/" + "0" * 64 + "/..", "\x1b[2Jreleases"],
)  # fmt: skip
def test_a_link_that_no_flash_made_is_not_followed_nor_replaced(
    text: str, root: Path, bundles: list[Path], flash: Callable[..., Any], open_fake: OpenFake
) -> None:
    (root / "releases" / "20240101").mkdir(parents=True)
    os.symlink(text, root / "current")  # noqa: PTH211
    before = tree(root)
    for act in (lambda: live(root), lambda: flash(bundles[0]), lambda: rollback(root, open_engine=open_fake)):
        with pytest.raises(DeployError, match="which is no release") as caught:
            act()
        assert str(caught.value).isprintable()
    assert tree(root) == before
    assert not (root / ".lock").exists()


def test_what_is_no_folder_of_ours_is_left_alone(
    root: Path, tmp_path: Path, bundles: list[Path], flash: Callable[..., Any], open_fake: OpenFake
) -> None:
    flash(bundles[0])
    foreign = root / "releases" / "20240101"
    foreign.mkdir()
    (root / "notes.txt").write_text("keep")
    flash(bundles[1])
    flash(bundles[2])
    assert foreign.is_dir()
    assert (root / "notes.txt").read_text() == "keep"
    shutil.move(root / "releases", tmp_path / "moved")
    (root / "releases").symlink_to(tmp_path / "moved")
    for act in (lambda: live(root), lambda: flash(bundles[0]), lambda: rollback(root, open_engine=open_fake)):
        with pytest.raises(DeployError, match="'releases' is a link"):
            act()


def test_leftovers_that_are_links_are_unlinked_and_not_followed(
    root: Path, tmp_path: Path, bundles: list[Path], flash: Callable[..., Any]
) -> None:
    flash(bundles[0])
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_bytes(b"x")
    for name in ("e" * 64, ".staged-x"):
        (root / "releases" / name).symlink_to(tmp_path / "precious")
    flash(bundles[1])
    assert listing(root) == whole(digest_of(bundles[1]), digest_of(bundles[0]))
    assert (tmp_path / "precious" / "file").read_bytes() == b"x"
