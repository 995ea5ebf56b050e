"""A bundle is the same bytes for the same content, and opens with any ZIP tool."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from edge_ad.bundle.archive import open_bundle, write_bundle
from edge_ad.bundle.layout import MAX_MEMBERS
from edge_ad.bundle.manifest import MANIFEST_NAME, Manifest, digest
from edge_ad.errors import (
    BundleError,
    DigestError,
    EdgeAdError,
    SchemaError,
    SizeError,
    TraversalError,
)

from archives import FILE_SHA256, HTML, opened_content, repacked, zipped  # isort: skip


def test_what_was_written_is_read(bundle: Path, sample) -> None:
    with open_bundle(bundle) as opened:
        assert opened.manifest == sample.manifest
        assert opened.digest == digest(sample.manifest)
        assert {name: opened.read(name) for name in opened.manifest.files} == sample.members


def test_the_same_content_gives_the_same_bytes_anywhere(tmp_path: Path, bundle: Path, sample) -> None:
    again = tmp_path / "again.edgead"
    reordered = dict(reversed(sample.members.items()))
    files = dict(reversed(sample.manifest.files.items()))
    assert write_bundle(again, sample.manifest.model_copy(update={"files": files}), reordered) == digest(
        sample.manifest
    )
    assert again.read_bytes() == bundle.read_bytes()
    assert hashlib.sha256(bundle.read_bytes()).hexdigest() == FILE_SHA256


def test_the_bytes_are_those_of_an_ordinary_zip_writer(bundle: Path, sample) -> None:
    assert bundle.read_bytes() == zipped(repacked(sample, {}))


def test_a_bundle_can_be_read_without_this_package_as_documented(bundle: Path, sample) -> None:
    with zipfile.ZipFile(bundle) as archive:
        raw = archive.read("manifest.json")
        files = json.loads(raw)["files"]
        assert archive.namelist() == ["manifest.json", *sorted(files)]
        for name, entry in files.items():
            content = archive.read(name)
            assert (hashlib.sha256(content).hexdigest(), len(content)) == (entry["sha256"], entry["size"])
    with open_bundle(bundle) as opened:
        assert opened.digest == hashlib.sha256(raw).hexdigest()


def test_extract_writes_every_file_and_the_manifest_as_it_is(tmp_path: Path, bundle: Path, sample) -> None:
    with open_bundle(bundle) as opened:
        opened.extract(tmp_path / "out")
    found = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == repacked(sample, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "part.edgead"]


def test_extract_leaves_an_existing_folder_alone(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "out").mkdir()
    with open_bundle(bundle) as opened, pytest.raises(BundleError, match="is already there"):
        opened.extract(tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_extract_of_a_damaged_bundle_leaves_nothing(tmp_path: Path, bundle: Path, sample) -> None:
    html = sample.members[HTML]
    bundle.write_bytes(bundle.read_bytes().replace(html, html[::-1]))
    with open_bundle(bundle) as opened, pytest.raises(DigestError):
        opened.extract(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["part.edgead"]


def test_reading_what_is_not_there_says_what_is(bundle: Path) -> None:
    with (
        open_bundle(bundle) as opened,
        pytest.raises(BundleError, match=r"holds no model\.onnx; it holds: golden"),
    ):
        opened.read("model.onnx")


def test_a_closed_bundle_keeps_its_manifest_and_reads_no_more(bundle: Path, sample) -> None:
    with open_bundle(bundle) as opened:
        pass
    opened.close()
    assert opened.manifest == sample.manifest
    with pytest.raises(BundleError, match="cannot be read"):
        opened.read(HTML)


# What the writer refuses


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (
            lambda members: members | {HTML: b"<p>pork</p>"},
            DigestError,
            "report.html is not what the manifest says",
        ),
        (lambda members: members | {HTML: b""}, DigestError, "report.html is not what the manifest says"),
        (lambda members: members | {"extra": b""}, DigestError, "extra is missing from the manifest"),
        (
            lambda members: {n: c for n, c in members.items() if n != HTML},
            DigestError,
            "is missing from the files",
        ),
    ],
)
def test_members_that_differ_from_the_manifest_are_not_written(
    tmp_path: Path,
    sample,
    change: Callable[[dict[str, bytes]], dict[str, bytes]],
    kind: type[EdgeAdError],
    text: str,
) -> None:
    with pytest.raises(kind, match=text):
        write_bundle(tmp_path / "part.edgead", sample.manifest, change(sample.members))
    assert not list(tmp_path.iterdir())


def with_files(sample, extra: Mapping[str, bytes]) -> tuple[Manifest, dict[str, bytes]]:
    members = {**sample.members, **extra}
    return type(sample)(members).manifest, members


@pytest.mark.parametrize(
    "name", ["../up", "/etc/passwd", "a\\b", "REPORT/report.html", "report", MANIFEST_NAME]
)
def test_names_that_the_reader_refuses_are_not_written(tmp_path: Path, sample, name: str) -> None:
    with pytest.raises(TraversalError):
        write_bundle(tmp_path / "part.edgead", *with_files(sample, {name: b""}))
    assert not list(tmp_path.iterdir())


def test_as_many_members_as_the_reader_takes_are_written_and_no_more(tmp_path: Path, sample) -> None:
    room = MAX_MEMBERS - len(sample.members)
    most = {f"f{index}": b"" for index in range(room)}
    write_bundle(tmp_path / "part.edgead", *with_files(sample, most))
    assert len(opened_content(tmp_path / "part.edgead")[1]) == MAX_MEMBERS
    with pytest.raises(SizeError, match="at most 1000 files"):
        write_bundle(tmp_path / "more.edgead", *with_files(sample, most | {"one-more": b""}))


def test_a_manifest_that_would_not_read_back_is_not_written(tmp_path: Path, sample) -> None:
    detector = sample.manifest.detector.model_copy(update={"config": {"x": float("nan")}})
    nan = sample.manifest.model_copy(update={"detector": detector})
    with pytest.raises(SchemaError, match="cannot be written as JSON"):
        write_bundle(tmp_path / "part.edgead", nan, sample.members)
    assert not list(tmp_path.iterdir())
