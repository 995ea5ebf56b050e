"""A technician flashes a box: what has proved itself goes live in one step, and nothing else ever does."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import resource
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ad.bundle.archive import open_bundle, write_bundle
from edge_ad.bundle.manifest import FileEntry, Manifest
from edge_ad.errors import (
    BundleError,
    DeployError,
    DigestError,
    EdgeAdError,
    EngineError,
    ParityError,
    SchemaError,
)
from edge_ad.runtime import deployment
from edge_ad.runtime.deployment import check_files, deploy, folder, live, load, rollback
from edge_ad.runtime.golden import make_golden

OpenFake = Callable[..., Any]
MakeBundle = Callable[..., Path]


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


# Flash and roll back


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


# Damage


def damage_model(release: Path) -> None:
    path = release / "payload/board/model.json"
    path.write_bytes(path.read_bytes().replace(b"2.0", b"2.5"))


def damage_manifest(release: Path) -> None:
    (release / "manifest.json").write_bytes(b"not a manifest")


def newer_manifest(release: Path) -> None:
    path = release / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'bundle/1"', b'bundle/2"'))


def respaced_manifest(release: Path) -> None:
    """The same data in other bytes."""
    path = release / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1))


def drop_golden(release: Path) -> None:
    (release / "golden/board.npz").unlink()


def link_model(release: Path) -> None:
    path = release / "payload/board/model.json"
    copy = release.parent.parent / "elsewhere.json"
    copy.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(copy)


def link_folder(release: Path) -> None:
    elsewhere = release.parent.parent / "payload"
    shutil.move(release / "payload", elsewhere)
    (release / "payload").symlink_to(elsewhere)


def pipe_for_model(release: Path) -> None:
    path = release / "payload/board/model.json"
    path.unlink()
    os.mkfifo(path)


def folder_for_manifest(release: Path) -> None:
    (release / "manifest.json").unlink()
    (release / "manifest.json").mkdir()


def huge_manifest(release: Path) -> None:
    with (release / "manifest.json").open("r+b") as file:
        file.truncate(1 << 40)


def remove_release(release: Path) -> None:
    shutil.rmtree(release)


def link_release(release: Path) -> None:
    elsewhere = release.parent.parent / "elsewhere"
    release.rename(elsewhere)
    release.symlink_to(elsewhere)


def file_for_release(release: Path) -> None:
    shutil.rmtree(release)
    release.write_bytes(b"")


DAMAGES = [
    damage_model, damage_manifest, newer_manifest, respaced_manifest, drop_golden, link_model, link_folder,
    pipe_for_model, folder_for_manifest, huge_manifest, remove_release, link_release, file_for_release,
]  # fmt: skip


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused_and_repaired_by_flashing_again(
    damage: Callable[[Path], None],
    exchange: bool,
    root: Path,
    bundles: list[Path],
    digests: list[str],
    flash: Callable[..., Any],
    open_fake: OpenFake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not exchange:  # a file system, or a C library, that cannot
        monkeypatch.setattr(folder, "_exchange", lambda one, other: False)
    flash(bundles[0])
    flash(bundles[1])
    held = tree(root)
    damage(root / "releases" / digests[1])
    with pytest.raises(DigestError) as caught:
        live(root)
    assert str(root / "releases" / digests[1]) in str(caught.value)
    assert str(caught.value).isprintable()
    done = flash(bundles[1])
    assert (done.digest, done.previous) == (digests[1], digests[0])
    assert live(root).digest == digests[1]
    repaired = tree(root)
    assert {name: repaired[name] for name in held} == held
    assert not [name for name in repaired if ".staged" in name or "damaged" in name]
    assert rollback(root, open_engine=open_fake).digest == digests[0]


def test_a_repair_that_fails_leaves_what_was(
    root: Path,
    bundles: list[Path],
    digests: list[str],
    flash: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flash(bundles[1])
    damage_model(root / "releases" / digests[1])
    held = tree(root)
    with pytest.raises(EngineError):
        flash(bundles[1], open_engine=lambda payload, where: (_ for _ in ()).throw(EngineError("refused")))
    assert tree(root) == held
    monkeypatch.setattr(folder, "_exchange", lambda one, other: False)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == digests[1] and self.parent.name.startswith(".staged-"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(DeployError, match="Input/output error"):
        flash(bundles[1])
    assert tree(root) == held


def test_start_up_reads_only_what_its_payload_needs(
    root: Path, both: Path, flash: Callable[..., Any], open_fake: OpenFake
) -> None:
    """And a flash reads everything."""
    flash(both, target="board")
    release = root / "releases" / digest_of(both)
    for other in ("payload/gateway/model.json", "golden/gateway.npz", "report/report.html"):
        (release / other).write_bytes(b"damaged")
        assert live(root).target == "board"
        with pytest.raises(DigestError):
            check_files(release, live(root).manifest)
    with pytest.raises(DigestError, match=r"payload/gateway/model\.json"):
        live(root, target="gateway")
    flash(both, target="board")
    check_files(release, live(root).manifest)


# Each is what somebody put there: no JSON, JSON of something else, a target of no payload
BAD_RECORDS = [
    (b"", "record of .* is missing or damaged"),
    (b"[]", "record of .* is missing or damaged"),
    (b'{"target":"board"', "record of .* is missing or damaged"),
    (b'{"schema":"edge-ad/release/2","target":"board"}', "record of .* is missing or damaged"),
    (
        b'{"schema":"edge-ad/release/1","target":"board","previous":{"digest":"../..","target":"b"}}',
        "damaged",
    ),
    (b"[" * 60_000, "record of .* is missing or damaged"),
    (b" " * 70_000 + b'{"target":"board"}', "record of .* is missing or damaged"),
    (b'{"target":"phone","previous":null}', "recorded for target 'phone', which it has no payload for"),
    (b'{"target":"\\u202ephone"}', r"recorded for target ''\\u202ephone''"),
]


@pytest.mark.parametrize(("content", "text"), [*BAD_RECORDS, (None, "record of .* is missing or damaged")])
def test_a_record_that_is_none(
    content: bytes | None,
    text: str,
    root: Path,
    bundles: list[Path],
    digests: list[str],
    flash: Callable[..., Any],
    open_fake: OpenFake,
) -> None:
    flash(bundles[0])
    flash(bundles[1])
    record = root / "releases" / f"{digests[1]}.json"
    record.unlink() if content is None else record.write_bytes(content)
    with pytest.raises(DeployError, match=text) as caught:
        live(root)
    assert str(caught.value).isprintable()
    with pytest.raises(DeployError):
        rollback(root, open_engine=open_fake)
    assert (root / "releases" / digests[0]).exists()
    flash(bundles[1])
    assert (live(root).digest, live(root).target) == (digests[1], "board")


def test_without_its_record_another_takes_over(
    root: Path, bundles: list[Path], digests: list[str], flash: Callable[..., Any], failing: Path
) -> None:
    """What a flash that died has left is in nobody's way, and nothing is lost before the new one has proved itself."""
    flash(bundles[0])
    flash(bundles[1])
    (root / "releases" / f"{digests[1]}.json").write_bytes(b"")
    (root / ".current.new").symlink_to("releases/" + "0" * 64)
    held = tree(root)
    with pytest.raises(ParityError):
        flash(failing)
    assert tree(root) == held
    assert flash(bundles[2]).previous is None
    assert live(root).digest == digests[2]
    assert listing(root) == whole(digests[2])


def test_a_record_behind_a_link_is_not_read(
    root: Path, tmp_path: Path, bundles: list[Path], digests: list[str], flash: Callable[..., Any]
) -> None:
    flash(bundles[0])
    record = root / "releases" / f"{digests[0]}.json"
    shutil.move(record, tmp_path / "record.json")
    record.symlink_to(tmp_path / "record.json")
    with pytest.raises(DeployError, match="missing or damaged"):
        live(root)
    flash(bundles[0])
    assert not record.is_symlink()
    assert (tmp_path / "record.json").exists()


# Folders of something else


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


# A file system that does not play along


def deploy_error(act: Callable[[], Any]) -> str:
    with pytest.raises(DeployError) as caught:
        act()
    text = str(caught.value)
    assert text.isprintable()
    return text


@pytest.mark.parametrize("name", ["", "releases", "current", ".lock"])
def test_a_file_or_folder_in_the_way(
    name: str, root: Path, tmp_path: Path, bundles: list[Path], flash: Callable[..., Any], open_fake: OpenFake
) -> None:
    if name == ".lock":
        (root / name).mkdir(parents=True)
    else:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"mine")
    before = tree(tmp_path)
    text = deploy_error(lambda: flash(bundles[0]))
    assert str(root) in text
    assert any(hint in text for hint in ("move away what is in its place", "choose another folder"))
    deploy_error(lambda: live(root))
    deploy_error(lambda: rollback(root, open_engine=open_fake))
    after = tree(tmp_path)
    after.pop("opt/line3/releases" if name == ".lock" else "", None)
    assert after == before


def test_below_a_file(tmp_path: Path, bundles: list[Path], open_fake: OpenFake) -> None:
    (tmp_path / "file").write_bytes(b"")
    text = deploy_error(lambda: deploy(bundles[0], tmp_path / "file" / "line3", open_engine=open_fake))
    assert "Not a directory" in text or "File exists" in text


def as_another_user(act: Callable[[], Any], start: Path) -> str:
    """The outcome of `act` in a child process of a user without rights, which starts in `start`."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chdir(start)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            text = f"done: {act()}"
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writer, text.encode()[:4000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")
def test_a_service_reads_what_root_flashed_and_cannot_change_it(
    root: Path, bundles: list[Path], digests: list[str], flash: Callable[..., Any], open_fake: OpenFake
) -> None:
    flash(bundles[0])
    flash(bundles[1])
    here = Path()  # the folders above belong to root alone
    assert as_another_user(lambda: live(here).digest, root) == f"done: {digests[1]}"
    for act in (lambda: rollback(here, open_engine=open_fake), lambda: deploy(bundles[0], here)):
        # The bundle too is out of reach, so a flash is refused before it begins
        assert "Permission denied" in as_another_user(act, root)
    assert (
        as_another_user(lambda: rollback(here, open_engine=open_fake), root)
        == "DeployError: .lock: cannot be used (Permission denied); check its permissions"
    )
    (root / "releases" / digests[1] / "manifest.json").chmod(0o600)
    text = as_another_user(lambda: live(here), root)
    assert text.startswith("DeployError") and "let the user of this process read it" in text


@pytest.mark.parametrize(("mask", "folders", "files"), [(0o022, 0o755, 0o644), (0o027, 0o750, 0o640)])
def test_permissions_follow_the_umask(
    mask: int, folders: int, files: int, root: Path, bundles: list[Path], flash: Callable[..., Any]
) -> None:
    before = os.umask(mask)
    try:
        flash(bundles[0])
    finally:
        os.umask(before)
    for path in (root / "releases").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (folders if path.is_dir() else files), path
    assert stat.S_IMODE((root / "releases").stat().st_mode) == folders


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a file system of memory; for root only."""
    places: list[Path] = []

    def mount(options: str) -> Path:
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
            pytest.skip("mounting a file system needs root")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(
    mounted: Callable[..., Path], make_bundle: MakeBundle, bundles: list[Path], open_fake: OpenFake
) -> None:
    root = mounted("size=1m") / "line3"
    large = make_bundle("large", 7.0, ballast_bytes=2_000_000)
    deploy(bundles[0], root, open_engine=open_fake)
    held = tree(root)
    text = deploy_error(lambda: deploy(large, root, open_engine=open_fake))
    assert (
        text == f"{root}: cannot be used (No space left on device); free some space or choose another folder"
    )
    assert tree(root) == held
    assert deploy(bundles[1], root, open_engine=open_fake).previous == digest_of(bundles[0])


def test_room_is_made_before_a_flash(
    mounted: Callable[..., Path], make_bundle: MakeBundle, open_fake: OpenFake
) -> None:
    """Two releases are kept and the third fits only without the oldest; so do leftovers of a flash that died."""
    root = mounted("size=1m") / "line3"
    paths = [make_bundle(f"big{i}", 10.0 + i, ballast_bytes=250_000) for i in range(6)]
    for path in paths:
        deploy(path, root, open_engine=open_fake)
    (root / "releases" / ".staged-dead").mkdir()
    (root / "releases" / ".staged-dead" / "part").write_bytes(bytes(250_000))
    deploy(paths[0], root, open_engine=open_fake)
    assert listing(root) == whole(digest_of(paths[0]), digest_of(paths[-1]))


def test_a_read_only_folder(
    mounted: Callable[..., Path], bundles: list[Path], digests: list[str], open_fake: OpenFake
) -> None:
    disk = mounted("size=1m")
    root = disk / "line3"
    deploy(bundles[0], root, open_engine=open_fake)
    deploy(bundles[1], root, open_engine=open_fake)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for act in (
        lambda: deploy(bundles[2], root, open_engine=open_fake),
        lambda: deploy(bundles[2], disk / "new", open_engine=open_fake),
        lambda: rollback(root, open_engine=open_fake),
    ):
        assert "Read-only file system" in deploy_error(act)
    assert live(root).digest == digests[1]


def test_a_limit_on_file_sizes(root: Path, make_bundle: MakeBundle, open_fake: OpenFake) -> None:
    """As a full disk, but for any user: the kernel refuses to write on, in the middle of a file."""
    large = make_bundle("large", 7.0, ballast_bytes=2_000_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        text = deploy_error(lambda: deploy(large, root, open_engine=open_fake))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large" in text
    assert listing(root) == {".lock", "releases"}
    assert deploy(large, root, open_engine=open_fake).digest == digest_of(large)


def test_a_sweep_that_fails_is_no_failed_flash(
    root: Path,
    bundles: list[Path],
    digests: list[str],
    flash: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    flash(bundles[0])
    flash(bundles[1])

    def refuse(path: Path, **options: Any) -> None:
        if not options.get("ignore_errors"):
            raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refuse)
        done = flash(bundles[2])
    assert (done.digest, live(root).digest, done.previous) == (digests[2], digests[2], digests[1])
    (message,) = {r.getMessage() for r in caplog.records if "cannot be removed" in r.getMessage()
                  and digests[0] in r.getMessage()}  # fmt: skip
    assert "Permission denied" in message
    flash(bundles[2])
    assert listing(root) == whole(digests[2], digests[1])


def test_no_place_for_the_files_of_a_bundle(
    bundles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(DeployError, match="set TMPDIR"), load(bundles[0]):
        pass


def test_an_error_of_the_caller_is_his_own(
    root: Path, bundles: list[Path], flash: Callable[..., Any]
) -> None:
    flash(bundles[0])
    for address in (bundles[0], root):
        with pytest.raises(FileNotFoundError, match="his"), load(address):
            raise FileNotFoundError("his")


# Read back


def test_what_was_written_is_read_back_from_the_medium(
    root: Path, bundles: list[Path], flash: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel is told to forget each file after it was synced and before it is read."""
    steps: list[tuple[str, int]] = []
    fsync, read = os.fsync, os.read

    def record(what: str, handle: int) -> None:
        steps.append((what, os.fstat(handle).st_ino))

    def forget(handle: int, offset: int, size: int, advice: int) -> None:
        assert (offset, size, advice) == (0, 0, os.POSIX_FADV_DONTNEED)
        record("forget", handle)

    monkeypatch.setattr(os, "fsync", lambda handle: (record("sync", handle), fsync(handle)))
    monkeypatch.setattr(os, "posix_fadvise", forget)
    monkeypatch.setattr(os, "read", lambda handle, size: (record("read", handle), read(handle, size))[1])
    done = flash(bundles[0])
    files = [path for path in done.folder.rglob("*") if path.is_file()]
    assert len(files) == 4
    for path in files:
        inode = path.stat().st_ino
        assert [what for what, of in steps if of == inode][:3] == ["sync", "forget", "read"], path


def test_a_system_without_that_advice_flashes_as_well(
    root: Path, bundles: list[Path], flash: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    flash(bundles[0])
    monkeypatch.delattr(os, "posix_fadvise")
    assert flash(bundles[1]).previous == digest_of(bundles[0])


def test_a_medium_that_keeps_something_else(
    root: Path, bundles: list[Path], flash: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worn card: what was written cannot be read back."""

    def wear(handle: int, *advice: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))  # noqa: PTH115
        if path.name == "model.json":
            path.write_bytes(path.read_bytes().replace(b"2.0", b"2.1"))

    flash(bundles[0])
    held = tree(root)
    monkeypatch.setattr(os, "posix_fadvise", wear)
    with pytest.raises(DigestError, match=r"model\.json: is not what the manifest says"):
        flash(bundles[1])
    assert tree(root) == held


# Two at once


def test_a_second_flash_waits_for_the_first(
    root: Path, bundles: list[Path], digests: list[str], flash: Callable[..., Any], open_fake: OpenFake
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(payload: Any, where: Path) -> Any:
        begun.set()
        assert go_on.wait(30)
        return open_fake(payload, where)

    results: dict[int, Any] = {}
    first = threading.Thread(target=lambda: results.update({0: flash(bundles[0], open_engine=slow)}))
    first.start()
    assert begun.wait(30)
    second = threading.Thread(target=lambda: results.update({1: flash(bundles[1])}))
    second.start()
    time.sleep(0.2)
    assert second.is_alive() and not (root / "current").exists()
    go_on.set()
    first.join(30)
    second.join(30)
    assert (results[0].previous, results[1].previous) == (None, digests[0])
    assert live(root).digest == digests[1]
    assert listing(root) == whole(digests[1], digests[0])


def test_a_flash_that_cannot_wait_says_who_is_at_it(
    root: Path,
    bundles: list[Path],
    flash: Callable[..., Any],
    open_fake: OpenFake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flash(bundles[0])
    flash(bundles[1])
    monkeypatch.setattr(folder, "LOCK_WAIT_S", 0.1)
    with (root / ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for act in (lambda: flash(bundles[2]), lambda: rollback(root, open_engine=open_fake)):
            assert f"is being flashed by process {os.getpid()}; wait" in deploy_error(act)
        assert live(root).digest == digest_of(bundles[1])
    flash(bundles[2])


# With a real engine


@pytest.fixture(scope="module")
def openvino_bundle(make_bundle: MakeBundle, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`openvino_bundle(gain, golden_gain)`: as the fake ones, with an OpenVINO network."""
    openvino = pytest.importorskip("openvino")
    from openvino import opset13 as ops

    from edge_ad.runtime.engines import open_model

    folder = tmp_path_factory.mktemp("openvino")

    def network(gain: float) -> Path:
        pixels = ops.parameter([1, 1, 4, 5], np.uint8, "input")
        gains = np.full((1, 1, 4, 5), gain, np.float32)
        out = ops.multiply(ops.convert(pixels, np.float32), ops.constant(gains))
        out.output(0).set_names({"map"})
        openvino.save_model(
            openvino.Model([out], [pixels]), folder / f"{gain}" / "model.xml", compress_to_fp16=False
        )
        return folder / f"{gain}" / "model.xml"

    def make(gain: float, golden_gain: float | None = None) -> Path:
        with open_bundle(make_bundle(f"plain{gain}", gain)) as opened:
            manifest = opened.manifest
        path = network(gain)
        host = open_model("openvino", path if golden_gain is None else network(golden_gain), {"threads": 1})
        rng = np.random.default_rng(1)
        inputs = [rng.integers(0, 256, (1, 1, 4, 5), np.uint8) for _ in range(2)]
        payload = manifest.payloads[0]
        names = {f"payload/board/{file.name}": file.read_bytes() for file in path.parent.iterdir()}
        members = {**names, payload.golden.file: make_golden(inputs, host, payload.head, payload.outputs)}
        changed = payload.model_copy(
            update={"engine": "openvino", "model": "payload/board/model.xml", "files": sorted(names),
                    "options": {"threads": 1}, "golden": payload.golden.model_copy(update={"rtol": 1e-6})}
        )  # fmt: skip
        files = {
            n: FileEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
            for n, data in members.items()
        }
        data = manifest.model_copy(update={"payloads": [changed], "files": files}).model_dump(by_alias=True)
        write_bundle(folder / f"{gain}.edgead", Manifest.model_validate(data), members)
        return folder / f"{gain}.edgead"

    return make


def test_an_openvino_network_proves_itself_there(openvino_bundle: Callable[..., Path], root: Path) -> None:
    from edge_ad.runtime.engines import open_engine

    one, two, wrong = openvino_bundle(1.5), openvino_bundle(2.5), openvino_bundle(3.5, 3.51)
    assert deploy(one, root).golden.worst_error < 1e-3
    done = deploy(two, root)
    with pytest.raises(ParityError):
        deploy(wrong, root)
    found = live(root)
    assert found.digest == done.digest
    engine = open_engine(found.manifest.payload(found.target), found.folder)
    # A weight changes under the running service: it goes on, the next start refuses it, a flash repairs it
    (found.folder / "payload/board/model.bin").write_bytes(np.full(20, 9.0, np.float32).tobytes())
    with pytest.raises(DigestError, match=r"model\.bin"):
        live(root)
    deploy(two, root)
    outputs = engine.infer(np.ones((1, 1, 4, 5), np.uint8))
    engine.close()
    assert outputs["map"].shape == (1, 1, 4, 5)
    found = live(root)
    engine = open_engine(found.manifest.payload(found.target), found.folder)
    np.testing.assert_allclose(engine.infer(np.ones((1, 1, 4, 5), np.uint8))["map"], 2.5)
    engine.close()
    assert rollback(root).digest == digest_of(one)


def test_every_error_is_one_line(
    root: Path, tmp_path: Path, bundles: list[Path], failing: Path, flash: Callable[..., Any]
) -> None:
    flash(bundles[0])
    damage_manifest(root / "releases" / digest_of(bundles[0]))
    acts = [
        lambda: live(root),
        lambda: live(tmp_path / "none"),
        lambda: rollback(root),
        lambda: flash(failing),
    ]
    for act in acts:
        with pytest.raises(EdgeAdError) as caught:
            act()
        assert str(caught.value).isprintable()
        assert caught.value.where is not None
