"""The bundle's file: a ZIP archive of one fixed layout, so that the same content always gives the same bytes.

The layout (`docs/bundle.md`) leaves the writer no choice, and the reader takes nothing else: it computes the
headers that a bundle of these names, sizes and checksums must have and compares them byte by byte. Encrypted,
compressed, overlapping, prepended or hidden data thus has no place to be. Any ZIP tool can read a bundle.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edge_ad.bundle.atomic import atomic_folder, write_atomic_chunks
from edge_ad.bundle.layout import COPY_AGAIN, Entry, check_sizes, check_total, directory, read_layout
from edge_ad.bundle.manifest import (
    MANIFEST_NAME,
    SIGNATURES_NAME,
    Manifest,
    canonical,
    digest,
    is_canonical,
    parse,
)
from edge_ad.bundle.names import shown
from edge_ad.bundle.signature import signed
from edge_ad.errors import BundleError, DigestError, SchemaError, TruncatedBundleError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_CHUNK_BYTES = 1 << 20
_TAMPERED = "it was changed or damaged; copy it again from where it was compiled"


def write_bundle(
    path: Path, manifest: Manifest, members: Mapping[str, bytes], *, signatures: bytes | None = None
) -> str:
    """Write the bundle `path` of `manifest` and the files it lists, and return its digest.

    members: content by member name, exactly those of `manifest.files`. signatures: content of `signatures.json`, which
    changes no other byte of a member and not the digest. The same arguments give the same bytes.
    Raises DigestError, SizeError, SchemaError or TraversalError for content that `open_bundle` would refuse, and
    BundleError, with the cause, when the file cannot be written; an older bundle of that name then survives.
    """
    where = str(path)
    raw = canonical(manifest, where=where)
    if canonical(parse(raw, where=where)) != raw:
        raise SchemaError("the manifest does not read back as it was written", where=where)
    _check_members(manifest, members, where)
    signature = {} if signatures is None else {SIGNATURES_NAME: signatures}
    contents = {MANIFEST_NAME: raw, **dict(sorted({**members, **signature}.items()))}
    entries: list[Entry] = []
    offset = 0
    for name, content in contents.items():
        entries.append(Entry(name, offset, len(content), zlib.crc32(content)))
        offset = entries[-1].end
    check_sizes(entries, where)
    check_total(offset, where)  # before offsets are packed into 32 bits
    tail = directory(entries)
    check_total(offset + len(tail), where)

    def chunks() -> Iterator[bytes]:
        for entry, content in zip(entries, contents.values(), strict=True):
            yield entry.local_header()
            yield content
        yield tail

    write_atomic_chunks(path, chunks())
    return digest(manifest)


def sign_bundle(path: Path, key: Ed25519PrivateKey) -> str:
    """Put a signature by `key` into the bundle `path`, beside those of other keys, and return its digest.

    Every digest is checked before. Raises what `open_bundle` and `edge_ad.bundle.signature.signed` say; the bundle is
    then as it was.
    """
    with open_bundle(path) as bundle:
        members = {name: bundle.read(name) for name in bundle.manifest.files}
        signatures = signed(bundle.digest, key, bundle.signatures, where=str(path))
        return write_bundle(path, bundle.manifest, members, signatures=signatures)


def open_bundle(path: Path) -> Bundle:
    """Open the bundle `path`, whoever made it, and check its structure and its manifest.

    File contents are checked when they are read. Raises TruncatedBundleError when the file ends early or is no
    bundle at all, TraversalError for a member name that leads elsewhere or a member that is no plain file,
    SizeError for more than a bundle may hold, SchemaError for a manifest that this version does not know,
    DigestError when the manifest and the members disagree, and BundleError for anything else: a path that
    cannot be read, compressed, encrypted, overlapping or foreign data.
    """
    try:
        # Not blocking, so that a pipe of that name is refused and not waited for.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BundleError(f"cannot be read ({reason})", where=path) from error
    try:
        return Bundle(path, handle)
    except BaseException:
        os.close(handle)
        raise


class Bundle:
    """An open bundle, from `open_bundle`; a context manager that closes the file.

    manifest: as checked. digest: sha256 of `manifest.json` in hexadecimal, which stands for the whole content.
    signatures: content of `signatures.json`, unchecked (`edge_ad.bundle.signature`), None without it.
    """

    manifest: Manifest
    digest: str
    signatures: bytes | None

    def __init__(self, path: Path, handle: int):
        self.path = path
        self._where = str(path)
        self._handle = handle
        entries = read_layout(self._at, self._file_size(), self._where)
        self._members = {entry.name: entry for entry in entries}
        self._raw = b"".join(self._chunks(entries[0]))
        self.manifest = parse(self._raw, where=self._where)
        if not is_canonical(self._raw):
            raise SchemaError(
                f"{MANIFEST_NAME} is not in its canonical form",
                where=self._where,
                hint="it was edited or made by something else; compile the bundle again",
            )
        self.digest = hashlib.sha256(self._raw).hexdigest()
        self._check_listed()
        signatures = self._members.get(SIGNATURES_NAME)
        self.signatures = None if signatures is None else b"".join(self._chunks(signatures))

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the manifest and the digest stay."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def read(self, name: str) -> bytes:
        """The content of the file `name`. Raises DigestError when it is not what the manifest says."""
        if name not in self.manifest.files:
            held = ", ".join(sorted(self.manifest.files)[:10])
            raise BundleError(f"holds no {shown(name)}", where=self._where, hint=f"it holds: {held}")
        return b"".join(self._verified(name))

    @property
    def manifest_text(self) -> str:
        """`manifest.json`, to the byte as it is here."""
        return self._raw.decode("ascii")

    def verify(self) -> None:
        """Read every file. Raises DigestError for the first that is not what the manifest says."""
        for name in self.manifest.files:
            for _ in self._verified(name):
                pass

    def extract(self, folder: Path) -> None:
        """Write `manifest.json` and `signatures.json`, to the byte as they are here, and every file into the new folder
        `folder`.

        All of it or nothing: an error, a wrong digest among them, leaves no folder behind. Raises DigestError,
        TruncatedBundleError, and BundleError when `folder` exists or cannot be written.
        """
        with atomic_folder(folder) as temporary:
            (temporary / MANIFEST_NAME).write_bytes(self._raw)
            if self.signatures is not None:
                (temporary / SIGNATURES_NAME).write_bytes(self.signatures)
            for name in self.manifest.files:
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:
                    for chunk in self._verified(name):
                        file.write(chunk)

    def _file_size(self) -> int:
        status = os.fstat(self._handle)
        if not stat.S_ISREG(status.st_mode):
            raise BundleError("is no file", where=self._where, hint="give the path of a .edgead file")
        check_total(status.st_size, self._where)
        return status.st_size

    def _check_listed(self) -> None:
        """The manifest lists just the members, in their true sizes."""
        listed, held = set(self.manifest.files), set(self._members) - {MANIFEST_NAME, SIGNATURES_NAME}
        for name in sorted(held - listed):
            raise DigestError(f"{name} is not in the manifest", where=self._where, hint=_TAMPERED)
        for name in sorted(listed - held):
            raise DigestError(f"{name} is in the manifest but missing", where=self._where, hint=_TAMPERED)
        for name, entry in self.manifest.files.items():
            if entry.size != self._members[name].size:
                raise DigestError(
                    f"{name} is not of the size in the manifest", where=self._where, hint=_TAMPERED
                )

    def _verified(self, name: str) -> Iterator[bytes]:
        """The content of `name` in chunks; raises DigestError after the last when it is not what it should be."""
        actual = hashlib.sha256()
        for chunk in self._chunks(self._members[name]):
            actual.update(chunk)
            yield chunk
        if actual.hexdigest() != self.manifest.files[name].sha256:
            raise DigestError(
                f"the content of {name} is not what the manifest says", where=self._where, hint=_TAMPERED
            )

    def _chunks(self, entry: Entry) -> Iterator[bytes]:
        crc = 0
        for offset in range(entry.start, entry.end, _CHUNK_BYTES):
            chunk = self._at(offset, min(_CHUNK_BYTES, entry.end - offset))
            crc = zlib.crc32(chunk, crc)
            yield chunk
        if crc != entry.crc:
            raise DigestError(f"the checksum of {entry.name} is wrong", where=self._where, hint=_TAMPERED)

    def _at(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes from `offset` on."""
        data = b""
        try:
            while len(data) < size:
                piece = os.pread(self._handle, size - len(data), offset + len(data))
                if not piece:
                    raise TruncatedBundleError("ends early", where=self._where, hint=COPY_AGAIN)
                data += piece
        except OSError as error:
            raise BundleError(f"cannot be read ({error.strerror or error})", where=self._where) from error
        return data


def _check_members(manifest: Manifest, members: Mapping[str, bytes], where: str) -> None:
    """The manifest describes just these members."""
    for name in sorted(set(members) ^ set(manifest.files)):
        missing = "the manifest" if name in members else "the files"
        raise DigestError(f"{shown(name)} is missing from {missing}", where=where)
    for name, entry in manifest.files.items():
        content = members[name]
        if len(content) != entry.size or hashlib.sha256(content).hexdigest() != entry.sha256:
            raise DigestError(f"the content of {name} is not what the manifest says", where=where)
