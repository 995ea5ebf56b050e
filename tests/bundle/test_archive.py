"""A bundle is the same bytes for the same content, opens with any ZIP tool, and gives a hostile file no hold."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_ad.bundle.archive import open_bundle, write_bundle
from edge_ad.bundle.layout import MAX_MANIFEST_BYTES, MAX_MEMBER_BYTES, MAX_MEMBERS, MAX_TOTAL_BYTES
from edge_ad.bundle.manifest import MANIFEST_NAME, Manifest, canonical, digest
from edge_ad.errors import (
    BundleError,
    DigestError,
    EdgeAdError,
    SchemaError,
    SizeError,
    TraversalError,
    TruncatedBundleError,
)

HTML = "report/report.html"
END_BYTES = 22
# Of the sample bundle: the format promises these bytes on every Python, platform and day.
FILE_SHA256 = "c58b5179d7730099f06a24b5ede16d894fb12f124b3857c2eb8f5a03821ce84f"


@pytest.fixture
def bundle(tmp_path: Path, sample) -> Path:
    path = tmp_path / "part.edgead"
    write_bundle(path, sample.manifest, sample.members)
    return path


def zipped(members: Mapping[str, bytes], mode: int = stat.S_IFREG | 0o644) -> bytes:
    """An archive as Python's own ZIP writer makes it, in the layout that bundles have."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = mode << 16
            info.create_system = 3
            archive.writestr(info, content)
    return buffer.getvalue()


def repacked(sample, extra: Mapping[str, bytes]) -> dict[str, bytes]:
    """The sample's members and `extra`, with its manifest first."""
    others = {**sample.members, **extra}
    return {MANIFEST_NAME: canonical(sample.manifest), **dict(sorted(others.items()))}


def patched(data: bytes, name: str, local: int, central: int, value: bytes) -> bytes:
    """`data` with the field at these offsets of both headers of `name` set; a negative offset leaves one be."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        header = archive.getinfo(name).header_offset
        directory = data.rindex(name.encode()) - 46
    out = bytearray(data)
    for start, offset in ((header, local), (directory, central)):
        if offset >= 0:
            out[start + offset : start + offset + len(value)] = value
    return bytes(out)


def opened_content(path: Path) -> tuple[str, dict[str, bytes]]:
    with open_bundle(path) as opened:
        opened.verify()
        return opened.digest, {name: opened.read(name) for name in opened.manifest.files}


def refused(path: Path, data: bytes, kind: type[EdgeAdError], text: str) -> None:
    """Opening and checking `data` raises just `kind`, in one line that names the file and says `text`."""
    path.write_bytes(data)
    with pytest.raises(EdgeAdError, match=text) as caught:
        opened_content(path)
    assert caught.type is kind
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


# What a bundle is


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


# What the reader refuses


def test_a_path_that_is_no_readable_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, text in [
        ("missing", "No such file"),
        ("", "is no file"),
        ("pipe", "is no file"),
        ("loop", "symbolic links"),
        ("a\0b", "null"),
        ("n" * 300, "too long"),
    ]:
        with pytest.raises(BundleError, match=text):
            open_bundle(tmp_path / name)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../up",
        "report/../../up",
        "a\\..\\b",
        "C:evil",
        "\\\\host\\x",
        "a//b",
        "./a",
        "a/.",
        "folder/",
        ".hidden",
        "dot.",
        "a b",
        "-rf",
        "\x1b[2Jx",
        "del\x7f",
        "naïve",
        "x" * 201,
        "REPORT/report.html",
        "Report/other",
        "report",
        HTML + "/inside",
    ],
)
def test_a_member_name_that_leads_elsewhere_or_collides(tmp_path: Path, sample, name: str) -> None:
    refused(tmp_path / "x.edgead", zipped(repacked(sample, {name: b""})), TraversalError, "member name")


@pytest.mark.parametrize("name", [b"report/re\0ort.html", b"report/re\nort.html", b"report/re\xffort.html"])
def test_control_characters_in_a_member_name(tmp_path: Path, bundle: Path, name: bytes) -> None:
    refused(bundle, bundle.read_bytes().replace(HTML.encode(), name), TraversalError, "letters, digits")


def test_a_member_without_a_name(bundle: Path) -> None:
    data = patched(bundle.read_bytes(), HTML, 26, 28, b"\0\0")
    refused(bundle, data, TraversalError, "is empty")


def test_a_member_that_comes_twice(bundle: Path) -> None:
    first, second = b"payload/openvino-cpu/model.bin", b"payload/openvino-cpu/model.xml"
    refused(bundle, bundle.read_bytes().replace(second, first), TraversalError, "comes twice")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFDIR, 0])
def test_a_member_that_is_no_plain_file(tmp_path: Path, sample, kind: int) -> None:
    data = zipped(repacked(sample, {}), mode=kind | 0o777)
    refused(tmp_path / "x.edgead", data, TraversalError, "is no plain file")


def test_an_executable_member(tmp_path: Path, sample) -> None:
    data = zipped(repacked(sample, {}), mode=stat.S_IFREG | 0o4755)
    refused(tmp_path / "x.edgead", data, BundleError, "the header of manifest.json is not a bundle's")


def test_an_encrypted_member(bundle: Path) -> None:
    refused(bundle, patched(bundle.read_bytes(), HTML, 6, 8, b"\1\0"), BundleError, "is encrypted")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_member(tmp_path: Path, sample, method: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in repacked(sample, {"bomb": bytes(1 << 20)}).items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content, method)
    refused(tmp_path / "x.edgead", buffer.getvalue(), BundleError, "is compressed")


def test_a_member_that_declares_too_much(bundle: Path) -> None:
    size = struct.pack("<2I", *[MAX_MEMBER_BYTES + 1] * 2)
    refused(
        bundle,
        patched(bundle.read_bytes(), HTML, 18, 20, size),
        SizeError,
        "report.html has 2147483649 bytes",
    )


def test_members_that_declare_too_much_together(bundle: Path, sample) -> None:
    data = bundle.read_bytes()
    for name in list(sample.members)[:3]:
        data = patched(data, name, 18, 20, struct.pack("<2I", *[MAX_MEMBER_BYTES] * 2))
    refused(bundle, data, SizeError, f"more than the {MAX_TOTAL_BYTES} of a bundle")


def test_a_file_larger_than_any_bundle_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.edgead"
    with path.open("wb") as file:
        file.truncate(MAX_TOTAL_BYTES + 1)
    with pytest.raises(SizeError, match="4294967296 bytes"):
        open_bundle(path)


def test_a_manifest_that_is_too_large(tmp_path: Path, sample) -> None:
    members = repacked(sample, {}) | {MANIFEST_NAME: b" " * (MAX_MANIFEST_BYTES + 1)}
    refused(tmp_path / "x.edgead", zipped(members), SizeError, "manifest.json has 4194305 bytes")


def test_more_members_than_a_bundle_may_hold(tmp_path: Path, sample) -> None:
    members = repacked(sample, {f"f{index}": b"" for index in range(MAX_MEMBERS)})
    refused(tmp_path / "x.edgead", zipped(members), SizeError, "at most 1000 files")


def test_a_member_that_holds_more_or_less_than_it_declares(bundle: Path, sample) -> None:
    good, html = bundle.read_bytes(), len(sample.members[HTML])
    for wrong, text in [(html + 1, "overlaps another"), (html - 1, "belongs to no member")]:
        data = patched(good, HTML, 18, 20, struct.pack("<2I", wrong, wrong))
        refused(bundle, data, BundleError, text)


def test_members_that_overlap(bundle: Path) -> None:
    refused(bundle, patched(bundle.read_bytes(), HTML, -1, 42, bytes(4)), BundleError, "overlaps another")


def test_headers_that_disagree(bundle: Path) -> None:
    """Tools that trust one header or the other would see two different files."""
    good = bundle.read_bytes()
    for local in (4, 6, 8, 10, 14, 18, 22, 28):
        refused(
            bundle,
            patched(good, HTML, local, -1, b"\x33\x33"),
            BundleError,
            "two headers of report/report.html",
        )


@pytest.mark.parametrize("field", ["extra", "comment"])
def test_extra_fields_and_comments(tmp_path: Path, sample, field: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in repacked(sample, {}).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            setattr(info, field, b"\x99\x99\x02\x00hi")
            archive.writestr(info, content)
    refused(
        tmp_path / "x.edgead", buffer.getvalue(), BundleError, "the header of manifest.json is not a bundle's"
    )


def test_an_archive_comment(tmp_path: Path, bundle: Path) -> None:
    with zipfile.ZipFile(bundle, "a") as archive:
        archive.comment = b"hello"
    refused(bundle, bundle.read_bytes(), TruncatedBundleError, "holds data after its end")


def test_members_in_another_order(tmp_path: Path, sample) -> None:
    backwards = zipped(dict(reversed(repacked(sample, {}).items())))
    refused(tmp_path / "x.edgead", backwards, BundleError, "and then the others by name")


def test_an_archive_without_a_manifest(tmp_path: Path, sample) -> None:
    refused(
        tmp_path / "x.edgead",
        zipped(dict(sorted(sample.members.items()))),
        BundleError,
        "manifest.json and then",
    )
    refused(tmp_path / "x.edgead", zipped({}), BundleError, "end record is not a bundle's")


def test_a_member_that_the_manifest_does_not_list(tmp_path: Path, sample) -> None:
    data = zipped(repacked(sample, {"stowaway": b"x"}))
    refused(tmp_path / "x.edgead", data, DigestError, "stowaway is not in the manifest")


def test_a_member_that_is_missing(tmp_path: Path, sample) -> None:
    members = repacked(sample, {})
    del members[HTML]
    refused(tmp_path / "x.edgead", zipped(members), DigestError, "report.html is in the manifest but missing")


def test_content_that_is_not_what_the_manifest_says(tmp_path: Path, sample) -> None:
    longer = zipped(repacked(sample, {HTML: b"<p>part</p> "}))
    refused(tmp_path / "x.edgead", longer, DigestError, "report.html is not of the size")
    other = zipped(repacked(sample, {HTML: b"<p>trap</p>"}))
    refused(
        tmp_path / "x.edgead",
        other,
        DigestError,
        "content of report/report.html is not what the manifest says",
    )


def test_a_tampered_file_is_met_when_it_is_read_and_spoils_no_other(tmp_path: Path, sample) -> None:
    path = tmp_path / "x.edgead"
    path.write_bytes(zipped(repacked(sample, {HTML: b"<p>trap</p>"})))
    with open_bundle(path) as opened:
        assert opened.read("payload/openvino-cpu/model.xml") == b"<net/>"
        with pytest.raises(DigestError):
            opened.read(HTML)
        with pytest.raises(DigestError):
            opened.verify()


def test_a_manifest_of_an_unknown_schema(tmp_path: Path, sample) -> None:
    raw = canonical(sample.manifest).replace(b"edge-ad/bundle/1", b"edge-ad/bundle/2")
    members = repacked(sample, {}) | {MANIFEST_NAME: raw}
    refused(tmp_path / "x.edgead", zipped(members), SchemaError, "unknown bundle schema edge-ad/bundle/2")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"schema":"edge-ad/bundle/1"}',
        b'{"schema":' + b"9" * 5000 + b"}",
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, sample, raw: bytes) -> None:
    refused(
        tmp_path / "x.edgead",
        zipped(repacked(sample, {}) | {MANIFEST_NAME: raw}),
        SchemaError,
        "schema|manifest",
    )


def test_a_manifest_that_was_edited_by_hand(tmp_path: Path, sample) -> None:
    """Else two bundles of one digest could differ, and a JSON key that comes twice could be read in two ways."""
    for raw in (
        json.dumps(sample.data, indent=1).encode(),
        canonical(sample.manifest)[:-1] + b',"name":"other"}',
    ):
        members = repacked(sample, {}) | {MANIFEST_NAME: raw}
        refused(tmp_path / "x.edgead", zipped(members), SchemaError, "not in its canonical form")


@pytest.mark.parametrize("value", ["1e999", "[" * 800 + "]" * 800])
def test_parameters_that_cannot_be_written_back(tmp_path: Path, sample, value: str) -> None:
    raw = canonical(sample.manifest).replace(b'"margin":4', b'"margin":' + value.encode())
    members = repacked(sample, {}) | {MANIFEST_NAME: raw}
    refused(tmp_path / "x.edgead", zipped(members), SchemaError, "cannot be written as JSON|is no JSON")


def test_garbage_and_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.edgead"
    refused(path, b"", TruncatedBundleError, "is empty")
    for data in (b"P", b"hello", bytes(10_000), b"\x89PNG\r\n\x1a\n" * 50):
        refused(path, data, TruncatedBundleError, "is no bundle|ends early")


def test_zip64_records(bundle: Path) -> None:
    """A ZIP64 end record, which some readers follow, could list other members than the ordinary one."""
    good = bundle.read_bytes()
    body, end = good[:-END_BYTES], good[-END_BYTES:]
    size, offset = struct.unpack_from("<2I", end, 12)
    record = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 5, 5, size, offset)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(body), 1)
    refused(bundle, body + record + locator + end, BundleError, "data before its start or its end")
    big = end[:8] + b"\xff" * 12 + b"\0\0"
    refused(bundle, body + record + locator + big, BundleError, "ZIP64")


def test_data_before_between_and_after(bundle: Path) -> None:
    good = bundle.read_bytes()
    size, offset = struct.unpack_from("<2I", good, len(good) - END_BYTES + 12)
    refused(bundle, b"#!/bin/sh\n" + good, BundleError, "data before its start")
    refused(bundle, good + b"x", TruncatedBundleError, "after its end")
    refused(bundle, good + good, BundleError, "data before its start or its end")
    moved = good[-END_BYTES:][:16] + struct.pack("<I", offset + 1) + b"\0\0"
    gap = good[:offset] + b"x" + good[offset : offset + size] + moved
    refused(bundle, gap, BundleError, "belongs to no member")


def test_a_bundle_within_a_bundle_end_record(bundle: Path) -> None:
    good = bundle.read_bytes()
    for start, value in [(4, b"\1"), (6, b"\1"), (8, b"\4"), (10, b"\4"), (20, b"\1")]:
        data = bytearray(good)
        data[len(good) - END_BYTES + start] = value[0]
        refused(bundle, bytes(data), BundleError, "end record is not a bundle's")
    for count in (0, 4, 6):
        data = bytearray(good)
        data[len(good) - END_BYTES + 8 : len(good) - END_BYTES + 12] = struct.pack("<2H", count, count)
        refused(bundle, bytes(data), BundleError, "end record|more than its members|directory ends early")


# Damage of any kind


def test_every_truncation_is_refused(bundle: Path) -> None:
    for length in reversed(range(bundle.stat().st_size)):
        os.truncate(bundle, length)
        with pytest.raises(TruncatedBundleError):
            open_bundle(bundle)


def test_every_changed_byte_is_refused(bundle: Path) -> None:
    """Each byte of a bundle is fixed by the layout, by a checksum or by a digest."""
    good = bundle.read_bytes()
    with bundle.open("r+b", buffering=0) as file:
        for position, byte in enumerate(good):
            os.pwrite(file.fileno(), bytes([byte ^ 1 << position % 8]), position)
            with pytest.raises(EdgeAdError):
                opened_content(bundle)
            os.pwrite(file.fileno(), bytes([byte]), position)
    assert bundle.read_bytes() == good


@st.composite
def damaged(draw: st.DrawFn, size: int) -> list[tuple[int, int, bytes]]:
    """Splices: a start, an end and what comes between."""
    position = st.integers(0, size)
    near = st.tuples(position, st.integers(0, 8), st.binary(max_size=8))
    return [
        (start, start + length, new) for start, length, new in draw(st.lists(near, min_size=1, max_size=5))
    ]


@settings(
    max_examples=600,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_damage_is_refused_or_without_effect(bundle: Path, data: st.DataObject) -> None:
    path = bundle.with_name("damaged.edgead")
    good = bundle.read_bytes()
    bad = bytearray(good)
    for start, end, new in data.draw(damaged(len(good))):
        bad[start:end] = new
    path.write_bytes(bad)
    try:
        content = opened_content(path)
    except EdgeAdError:
        assert bytes(bad) != good
    else:
        assert content == opened_content(bundle)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(raw=st.binary(max_size=300), count=st.integers(0, 3))
def test_any_bytes_with_an_end_record_raise_nothing_else(tmp_path: Path, raw: bytes, count: int) -> None:
    end = struct.pack(
        "<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(raw) // 2, len(raw) - len(raw) // 2, 0
    )
    path = tmp_path / "x.edgead"
    path.write_bytes(b"PK\x03\x04"[: len(raw)] + raw[4:] + end)
    with pytest.raises(EdgeAdError):
        open_bundle(path)
