"""A hostile archive gets no hold: names, kinds, sizes and headers that no bundle has."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from edge_ad.bundle.archive import open_bundle
from edge_ad.bundle.layout import MAX_MANIFEST_BYTES, MAX_MEMBER_BYTES, MAX_MEMBERS, MAX_TOTAL_BYTES
from edge_ad.bundle.manifest import MANIFEST_NAME
from edge_ad.errors import (
    BundleError,
    SizeError,
    TraversalError,
    TruncatedBundleError,
)

from archives import HTML, patched, refused, repacked, zipped  # isort: skip


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
