"""A reader never meets half a file, and what was there before survives every failure of writing."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_ad.bundle.archive import open_bundle, write_bundle
from edge_ad.bundle.atomic import atomic_folder, write_atomic, write_atomic_chunks
from edge_ad.errors import BundleError


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[os.stat_result]:
    """The files and folders that were synced, in order."""
    done: list[os.stat_result] = []
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(os.fstat(handle)))
    return done


# One file


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"")
    assert listing(tmp_path) == {"file": b""}
    write_atomic_chunks(path, iter([b"t", b"", b"wo"]))
    assert listing(tmp_path) == {"file": b"two"}


def test_a_reader_of_the_older_file_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"older")
    with path.open("rb") as reader:
        write_atomic(path, b"newer")
        assert reader.read() == b"older"


@pytest.mark.usefixtures("umask")
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"")
    with atomic_folder(tmp_path / "folder"):
        pass
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"kept")
    (tmp_path / "link").symlink_to("target")
    write_atomic(tmp_path / "link", b"new")
    assert listing(tmp_path) == {"target": b"kept", "link": b"new"}
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127])
def test_names_of_any_length_that_the_file_system_takes(tmp_path: Path, name: str) -> None:
    write_atomic(tmp_path / name, b"x")
    assert listing(tmp_path) == {name: b"x"}


def test_content_and_name_are_synced(tmp_path: Path, synced: list[os.stat_result]) -> None:
    write_atomic(tmp_path / "file", b"x")
    assert [status.st_ino for status in synced] == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("missing/file", r"No such file or directory\); make its folder first"),
        ("file/x", "Not a directory"),
        ("d", "Is a directory"),
    ],
)
def test_a_place_that_cannot_be_written(tmp_path: Path, where: str, text: str) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "d").mkdir()
    with pytest.raises(BundleError, match=text) as caught:
        write_atomic(tmp_path / where, b"x")
    assert str(caught.value).startswith(f"{tmp_path / where}: cannot be written (")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["d", "file"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_failing_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    path = tmp_path / "file"
    write_atomic(path, b"older")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(BundleError, match=os.strerror(code)):
        write_atomic(path, b"newer")
    assert listing(tmp_path) == {"file": b"older"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
def test_an_interrupted_write(tmp_path: Path, error: type[BaseException]) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise error

    path = tmp_path / "file"
    write_atomic(path, b"older")
    with pytest.raises(error):
        write_atomic_chunks(path, chunks())
    assert listing(tmp_path) == {"file": b"older"}


def test_a_file_system_that_cannot_sync_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomic(tmp_path / "file", b"x")
    assert listing(tmp_path) == {"file": b"x"}


# A bundle on a full disk


def written_with_a_limit(path: Path, limit: int) -> str:
    """What `write_bundle` says in a process that may write files of at most `limit` bytes."""
    script = f"""
        import resource, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from conftest import Sample
        from edge_ad.bundle.archive import write_bundle
        from edge_ad.errors import EdgeAdError
        sample = Sample()
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        try:
            print(write_bundle(Path({str(path)!r}), sample.manifest, sample.members))
        except EdgeAdError as error:
            print(type(error).__name__, error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("older", [None, b"an older bundle"])
def test_a_bundle_over_the_limit_of_file_sizes(tmp_path: Path, older: bytes | None) -> None:
    path = tmp_path / "part.edgead"
    if older is not None:
        path.write_bytes(older)
    assert written_with_a_limit(path, 1000).startswith(
        f"BundleError {path}: cannot be written (File too large)"
    )
    assert listing(tmp_path) == ({} if older is None else {"part.edgead": older})


def test_the_limit_alone_does_not_keep_a_bundle_from_being_written(tmp_path: Path, sample) -> None:
    path = tmp_path / "part.edgead"
    digest = written_with_a_limit(path, 100_000)
    with open_bundle(path) as opened:
        assert opened.digest == digest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system of 64 KiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode != 0:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk(small_disk: Path, sample) -> None:
    path = small_disk / "part.edgead"
    older = write_bundle(path, sample.manifest, sample.members)
    big = type(sample)({**sample.members, "weights.bin": bytes(100_000)})
    with pytest.raises(BundleError) as caught:
        write_bundle(path, big.manifest, big.members)
    assert str(caught.value) == (
        f"{path}: cannot be written (No space left on device); free some space or choose another place"
    )
    assert [entry.name for entry in small_disk.iterdir()] == ["part.edgead"]
    with open_bundle(path) as opened:
        opened.verify()
        assert opened.digest == older


def test_extracting_to_a_full_disk(tmp_path: Path, small_disk: Path, sample) -> None:
    big = type(sample)({**sample.members, "weights.bin": bytes(100_000)})
    write_bundle(tmp_path / "part.edgead", big.manifest, big.members)
    with open_bundle(tmp_path / "part.edgead") as opened, pytest.raises(BundleError, match="No space left"):
        opened.extract(small_disk / "live")
    assert not list(small_disk.iterdir())


# A folder


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "live") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_bytes(b"x")
        assert not (tmp_path / "live").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["live"]
    assert (tmp_path / "live" / "sub" / "file").read_bytes() == b"x"


def test_all_of_a_folder_is_synced_and_then_its_name(tmp_path: Path, synced: list[os.stat_result]) -> None:
    with atomic_folder(tmp_path / "live") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_bytes(b"x")
        (folder / "link").symlink_to("sub")
    numbers = [status.st_ino for status in synced]
    live = tmp_path / "live"
    assert set(numbers[:-1]) == {path.stat().st_ino for path in (live, live / "sub", live / "sub" / "file")}
    assert numbers[-1] == tmp_path.stat().st_ino


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_folder_that_was_interrupted_is_gone(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), atomic_folder(tmp_path / "live") as folder:
        (folder / "file").write_bytes(b"x")
        raise error
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("empty", "dangling"):
        with pytest.raises(BundleError, match="is already there"), atomic_folder(tmp_path / name):
            pytest.fail("the body must not run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "empty"]


def test_a_folder_made_meanwhile_is_left_alone(tmp_path: Path) -> None:
    live = tmp_path / "live"
    with pytest.raises(BundleError, match="is already there"), atomic_folder(live):
        live.mkdir()
    assert list(tmp_path.iterdir()) == [live]


def test_an_error_of_the_disk_within_a_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"live: cannot be written \(No space left on device\)"):  # noqa: SIM117
        with atomic_folder(tmp_path / "live"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(BundleError, match="make its folder first"), atomic_folder(tmp_path / "no" / "live"):
        pytest.fail("the body must not run")
    assert not list(tmp_path.iterdir())
