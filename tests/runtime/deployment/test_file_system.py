"""A file system that does not play along: full, read-only, in the way."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_ad.errors import (
    DeployError,
)
from edge_ad.runtime.deployment import deploy, live, load, rollback

from deployments import deploy_error, MakeBundle, OpenFake, digest_of, listing, tree, whole  # isort: skip


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
