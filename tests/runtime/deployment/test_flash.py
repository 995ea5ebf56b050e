"""A technician flashes a box: what has proved itself goes live in one step, and nothing else ever does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_ad.bundle.archive import open_bundle
from edge_ad.errors import (
    BundleError,
    DeployError,
    DigestError,
    EngineError,
    ParityError,
    SchemaError,
)
from edge_ad.runtime.deployment import check_files, live, load, rollback

from deployments import OpenFake, digest_of, listing, tree, whole  # isort: skip


def test_the_first_flash(
    root: Path, bundles: list[Path], flash: Callable[..., Any], open_fake: OpenFake
) -> None:
    done = flash(bundles[0])
    digest = digest_of(bundles[0])
    assert (done.digest, done.previous, done.target) == (digest, None, "board")
    assert (done.golden.passed, done.golden.count) == (True, 2)
    assert (root / "current").readlink() == Path("releases") / digest
    assert listing(root) == whole(digest)
    found = live(root)
    assert (found.digest, found.target, found.folder) == (digest, "board", done.folder)
    with open_bundle(bundles[0]) as opened:
        assert found.manifest == opened.manifest
        for name in opened.manifest.files:
            assert (found.folder / name).read_bytes() == opened.read(name)


def test_flash_another_and_go_back_and_forth(
    root: Path, bundles: list[Path], digests: list[str], flash: Callable[..., Any], open_fake: OpenFake
) -> None:
    one, two, _ = digests
    flash(bundles[0])
    assert flash(bundles[1]).previous == one
    assert live(root).digest == two
    for live_one, previous in [(one, two), (two, one), (one, two)]:
        done = rollback(root, open_engine=open_fake)
        assert (done.digest, done.previous, live(root).digest) == (live_one, previous, live_one)
        assert done.golden.count == 2
    assert listing(root) == whole(one, two)


def test_only_the_last_two_are_kept(
    root: Path, bundles: list[Path], digests: list[str], flash: Callable[..., Any]
) -> None:
    for bundle in bundles:
        flash(bundle)
    assert listing(root) == whole(digests[2], digests[1])


def test_flash_the_live_one_again(
    root: Path, bundles: list[Path], digests: list[str], flash: Callable[..., Any]
) -> None:
    flash(bundles[0])
    flash(bundles[1])
    before = tree(root)
    inode = (root / "releases" / digests[1]).stat().st_ino
    again = flash(bundles[1])
    assert (again.digest, again.previous) == (digests[1], digests[0])
    assert tree(root) == before
    assert (root / "releases" / digests[1]).stat().st_ino == inode


def test_flash_the_previous_one(
    root: Path, bundles: list[Path], digests: list[str], flash: Callable[..., Any]
) -> None:
    flash(bundles[0])
    flash(bundles[1])
    done = flash(bundles[0])
    assert (done.digest, done.previous) == (digests[0], digests[1])


def test_the_target_is_remembered_and_part_of_what_a_rollback_restores(
    root: Path, bundles: list[Path], both: Path, flash: Callable[..., Any], open_fake: OpenFake
) -> None:
    flash(bundles[0])
    with pytest.raises(SchemaError, match="board, gateway"):
        flash(both)
    flash(both, target="board")
    done = flash(both, target="gateway")
    assert (done.digest, done.previous, done.target) == (digest_of(both), digest_of(both), "gateway")
    assert live(root).target == "gateway"
    assert rollback(root, open_engine=open_fake).target == "board"
    assert live(root).target == "board"
    with load(f"dir:{root}", target="gateway") as found:
        assert found.target == "gateway"
    with load(root) as found:
        assert found.target == "board"
    with pytest.raises(SchemaError, match="no payload for target 'phone'"):
        live(root, target="phone")


@pytest.mark.parametrize("flashed", [False, True])
def test_nothing_to_go_back_to(
    root: Path, flashed: bool, bundles: list[Path], flash: Callable[..., Any], open_fake: OpenFake
) -> None:
    with pytest.raises(DeployError, match="no such folder"):
        rollback(root, open_engine=open_fake)
    root.mkdir(parents=True)
    if flashed:
        flash(bundles[0])
    before = tree(root)
    with pytest.raises(DeployError, match="no previous bundle" if flashed else "no live bundle"):
        rollback(root, open_engine=open_fake)
    assert tree(root) == before
    assert (root / ".lock").exists() == flashed  # a folder of something else stays as it is


def test_a_bundle_file_serves_as_well(bundles: list[Path], both: Path) -> None:
    with load(bundles[0]) as found:
        assert (found.digest, found.target) == (digest_of(bundles[0]), None)
        check_files(found.folder, found.manifest)
    assert not found.folder.exists()
    with load(both, target="gateway") as found:
        assert found.target == "gateway"
    with pytest.raises(SchemaError, match="phone"), load(both, target="phone"):
        pass


# What does not prove itself


@pytest.mark.parametrize("before", [0, 1, 2])
def test_failing_vectors_change_nothing(
    before: int, root: Path, bundles: list[Path], failing: Path, flash: Callable[..., Any]
) -> None:
    for bundle in bundles[:before]:
        flash(bundle)
    held = tree(root) if before else {"releases": None}
    with pytest.raises(ParityError, match="golden vector") as caught:
        flash(failing)
    assert caught.value.where == str(failing)
    assert tree(root) == held
    if before:
        assert live(root).digest == digest_of(bundles[before - 1])


def test_an_engine_that_cannot_open_it_changes_nothing(
    root: Path, bundles: list[Path], flash: Callable[..., Any]
) -> None:
    def refuse(payload: object, where: Path) -> Any:
        raise EngineError("refused")

    flash(bundles[0])
    held = tree(root)
    for bundle in bundles[:2]:
        with pytest.raises(EngineError, match="refused"):
            flash(bundle, open_engine=refuse)
        assert tree(root) == held


def test_a_previous_one_that_no_longer_agrees_is_not_gone_back_to(
    root: Path, bundles: list[Path], flash: Callable[..., Any], open_fake: OpenFake
) -> None:
    def drifted(payload: Any, where: Path) -> Any:
        engine = open_fake(payload, where)
        engine.gain *= 1.01
        return engine

    flash(bundles[0])
    flash(bundles[1])
    held = tree(root)
    with pytest.raises(ParityError):
        rollback(root, open_engine=drifted)
    assert tree(root) == held
    (root / "releases" / digest_of(bundles[0]) / "payload/board/model.json").write_bytes(b"{}")
    with pytest.raises(DigestError, match="flash it again"):
        rollback(root, open_engine=open_fake)
    assert live(root).digest == digest_of(bundles[1])


def test_it_is_proven_before_it_has_its_name_and_closed(
    root: Path, bundles: list[Path], digests: list[str], flash: Callable[..., Any], open_fake: OpenFake
) -> None:
    seen = []

    def watch(payload: Any, where: Path) -> Any:
        engine = open_fake(payload, where)
        seen.append((where.parent.parent == root / "releases", (root / "releases" / digests[1]).exists()))
        engine.close = lambda: seen.append("closed")
        return engine

    flash(bundles[0])
    flash(bundles[1], open_engine=watch)
    assert seen == [(True, False), "closed"]


def bad_copies(bundle: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    raw = bundle.read_bytes()
    at = raw.rindex(b'{"gain"')
    for name, content, text in [
        ("cut", raw[:-100], "ends early"),
        ("altered", raw[:at] + b" " + raw[at + 1 :], "checksum of payload/board/model.json"),
        ("empty", b"", "is empty"),
    ]:
        (folder / name).write_bytes(content)
        yield folder / name, text
    yield folder / "absent", "No such file"


def test_a_bad_bundle_makes_no_folder(
    root: Path, tmp_path: Path, bundles: list[Path], both: Path, flash: Callable[..., Any]
) -> None:
    for path, text in bad_copies(bundles[0], tmp_path):
        with pytest.raises(BundleError, match=text):
            flash(path)
    with pytest.raises(SchemaError):
        flash(both)
    with pytest.raises(SchemaError):
        flash(both, target="phone")
    assert not root.parent.exists()
