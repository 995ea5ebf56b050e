"""What damaged a live release is refused, and repaired by flashing again."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_ad.errors import (
    DeployError,
    DigestError,
    EngineError,
    ParityError,
)
from edge_ad.runtime.deployment import check_files, folder, live, rollback

from deployments import damage_manifest, OpenFake, digest_of, listing, tree, whole  # isort: skip


def damage_model(release: Path) -> None:
    path = release / "payload/board/model.json"
    path.write_bytes(path.read_bytes().replace(b"2.0", b"2.5"))


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
