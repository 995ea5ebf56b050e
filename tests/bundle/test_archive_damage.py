"""What is missing, altered or damaged in a bundle is met, whatever it is."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_ad.bundle.archive import open_bundle
from edge_ad.bundle.manifest import MANIFEST_NAME, canonical
from edge_ad.errors import (
    BundleError,
    DigestError,
    EdgeAdError,
    SchemaError,
    TruncatedBundleError,
)

from archives import END_BYTES, HTML, opened_content, refused, repacked, zipped  # isort: skip


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
