"""What the tests of bundle archives share: other makers of ZIP files, and what a refusal looks like."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from edge_ad.bundle.archive import open_bundle
from edge_ad.bundle.manifest import MANIFEST_NAME, canonical
from edge_ad.errors import (
    EdgeAdError,
)

HTML = "report/report.html"
END_BYTES = 22
# Of the sample bundle: the format promises these bytes on every Python, platform and day.
FILE_SHA256 = "4530f76920ff415723cde1784218a72ddc629d80ea90a28597f20acfd39d5cbb"


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
