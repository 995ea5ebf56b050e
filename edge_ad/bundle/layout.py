"""The ZIP layout of a bundle: one sequence of headers for given names, sizes and checksums, and no other.

Written here rather than through `zipfile`, whose reader forgives much of what a hostile archive is made of, and
whose writer goes over to ZIP64 fields near 2 GiB; below that its bytes are the same, which a test holds.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_ad.bundle.manifest import MANIFEST_NAME, SIGNATURES_NAME
from edge_ad.bundle.names import MAX_NAME_CHARS, check_names
from edge_ad.errors import BundleError, SizeError, TraversalError, TruncatedBundleError

MAX_MEMBER_BYTES = 2 << 30
MAX_TOTAL_BYTES = (4 << 30) - 1  # of the whole file: what the archive's 32-bit offsets reach
MAX_MEMBERS = 1000
MAX_MANIFEST_BYTES = 4 << 20
MAX_SIGNATURES_BYTES = 1 << 14

_LIMITS = {MANIFEST_NAME: MAX_MANIFEST_BYTES, SIGNATURES_NAME: MAX_SIGNATURES_BYTES}

COPY_AGAIN = "copy it again"
FOREIGN = "it was changed or made by something else; compile it again"

# APPNOTE.TXT 4.3.7, 4.3.12 and 4.3.16: local header, central directory header, end of central directory.
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCAL_MAGIC, _CENTRAL_MAGIC, _END_MAGIC = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_VERSION = 20
_MADE_BY = (3 << 8) | _VERSION  # 3: Unix, so that the attributes hold a file mode
_ATTRIBUTES = (stat.S_IFREG | 0o644) << 16
_FLAGS = _METHOD = _TIME = 0
_DATE = (1 << 5) | 1  # 1980-01-01
_MAX_CENTRAL_BYTES = (MAX_MEMBERS + len(_LIMITS)) * (_CENTRAL.size + MAX_NAME_CHARS)


@dataclass(frozen=True)
class Entry:
    """One member: its name, the offset of its local header, its size in bytes and its CRC-32."""

    name: str
    offset: int
    size: int
    crc: int

    @property
    def start(self) -> int:
        """Where its content starts."""
        return self.offset + _LOCAL.size + len(self.name)

    @property
    def end(self) -> int:
        """Where its content ends."""
        return self.start + self.size

    def local_header(self) -> bytes:
        """The header before its content."""
        name = self.name.encode("ascii")
        return _LOCAL.pack(_LOCAL_MAGIC, _VERSION, *self._common(), len(name), 0) + name

    def central_header(self) -> bytes:
        """Its header in the central directory."""
        name = self.name.encode("ascii")
        rest = (len(name), 0, 0, 0, 0, _ATTRIBUTES, self.offset)
        return _CENTRAL.pack(_CENTRAL_MAGIC, _MADE_BY, _VERSION, *self._common(), *rest) + name

    def _common(self) -> tuple[int, ...]:
        return (_FLAGS, _METHOD, _TIME, _DATE, self.crc, self.size, self.size)


def directory(entries: Sequence[Entry]) -> bytes:
    """What follows the last member: the central directory and the end record."""
    central = b"".join(entry.central_header() for entry in entries)
    count = len(entries)
    return central + _END.pack(_END_MAGIC, 0, 0, count, count, len(central), entries[-1].end, 0)


def read_layout(at: Callable[[int, int], bytes], size: int, where: str) -> list[Entry]:
    """The members of an archive, every byte of it outside their contents checked.

    at: gives exactly so many bytes from an offset on. size: of the whole file, in bytes. Raises what
    `edge_ad.bundle.archive.open_bundle` says.
    """
    count, central_size, central_offset = _end(at, size, where)
    entries = _central(at(central_offset, central_size), count, where)
    names = [entry.name for entry in entries]
    check_names(names, where=where)
    if names[0] != MANIFEST_NAME or names[1:] != sorted(names[1:]):
        raise BundleError(f"members are not {MANIFEST_NAME} and then the others by name", where=where)
    check_sizes(entries, where)
    offset = 0
    for entry in entries:
        if entry.offset != offset or entry.end > central_offset:
            raise BundleError(
                f"member {entry.name} overlaps another or lies apart from it", where=where, hint=FOREIGN
            )
        if at(offset, entry.start - offset) != entry.local_header():
            raise BundleError(f"the two headers of {entry.name} disagree", where=where, hint=FOREIGN)
        offset = entry.end
    if offset != central_offset:
        raise BundleError("holds data that belongs to no member", where=where, hint=FOREIGN)
    return entries


def check_sizes(entries: Sequence[Entry], where: str) -> None:
    """Raise SizeError for more, or larger, members than a bundle may hold."""
    if sum(entry.name not in _LIMITS for entry in entries) > MAX_MEMBERS:
        raise SizeError(f"a bundle may hold at most {MAX_MEMBERS} files", where=where)
    for entry in entries:
        limit = _LIMITS.get(entry.name, MAX_MEMBER_BYTES)
        if entry.size > limit:
            raise SizeError(f"{entry.name} has {entry.size} bytes, more than {limit}", where=where)
    check_total(sum(entry.size for entry in entries), where)


def check_total(size: int, where: str) -> None:
    """Raise SizeError for a file of more bytes than a bundle may have."""
    if size > MAX_TOTAL_BYTES:
        raise SizeError(f"has {size} bytes, more than the {MAX_TOTAL_BYTES} of a bundle", where=where)


def _end(at: Callable[[int, int], bytes], size: int, where: str) -> tuple[int, int, int]:
    """Number of members, and size and offset of the central directory, from the end record."""
    if size == 0:
        raise TruncatedBundleError("is empty", where=where, hint=COPY_AGAIN)
    head = at(0, min(size, len(_LOCAL_MAGIC)))
    tail = at(max(0, size - _END.size), min(size, _END.size))
    if len(tail) < _END.size or not tail.startswith(_END_MAGIC):
        if head != _LOCAL_MAGIC[: len(head)]:
            raise TruncatedBundleError("is no bundle", where=where, hint="give a .edgead file")
        raise TruncatedBundleError("ends early, or holds data after its end", where=where, hint=COPY_AGAIN)
    _, disk, central_disk, here, count, central_size, central_offset, comment = _END.unpack(tail)
    if 0xFFFF in (here, count) or 0xFFFFFFFF in (central_size, central_offset):
        raise BundleError("is a ZIP64 archive, which no bundle is", where=where, hint=FOREIGN)
    if max(here, count) > MAX_MEMBERS + len(_LIMITS) or central_size > _MAX_CENTRAL_BYTES:
        raise SizeError(f"a bundle may hold at most {MAX_MEMBERS} files", where=where)
    if (disk, central_disk, comment) != (0, 0, 0) or here != count or count == 0:
        raise BundleError("its end record is not a bundle's", where=where, hint=FOREIGN)
    if central_offset + central_size + _END.size != size or head != _LOCAL_MAGIC:
        raise BundleError("holds data before its start or its end", where=where, hint=FOREIGN)
    return count, central_size, central_offset


def _central(data: bytes, count: int, where: str) -> list[Entry]:
    """The members that the central directory lists."""
    entries: list[Entry] = []
    position = 0
    for _ in range(count):
        entry, header = _central_entry(data[position : position + _CENTRAL.size + 0xFFFF], where)
        entries.append(entry)
        position += len(header)
    if position != len(data):
        raise BundleError("its directory holds more than its members", where=where, hint=FOREIGN)
    return entries


def _central_entry(data: bytes, where: str) -> tuple[Entry, bytes]:
    """The member whose central header `data` starts with, and that header."""
    if len(data) < _CENTRAL.size:
        raise BundleError("its directory ends early", where=where, hint=FOREIGN)
    _, _, _, flags, method, _, _, crc, _, size, name_size, *_, attributes, offset = _CENTRAL.unpack_from(data)
    name = data[_CENTRAL.size : _CENTRAL.size + name_size].decode("latin-1")  # check_names lets ASCII through
    check_names([name], where=where)
    if not stat.S_ISREG(attributes >> 16):
        raise TraversalError(f"member {name} is no plain file", where=where)
    for met, what in ((flags & 1, "encrypted"), (method != 0, "compressed")):
        if met:
            raise BundleError(f"member {name} is {what}, which no bundle's is", where=where, hint=FOREIGN)
    entry = Entry(name, offset, size, crc)
    header = entry.central_header()
    if not data.startswith(header):
        raise BundleError(f"the header of {name} is not a bundle's", where=where, hint=FOREIGN)
    return entry, header
