"""UDP datagrams of a packet capture in the classic pcap format, IPv4 fragments put together.

Formats: the IETF draft "PCAP Capture File Format" (draft-ietf-opsawg-pcap), and tcpdump.org's list of link types.
The readers of velodyne-decoder and ouster-sdk serve neither both sensors, nor captures cut short, nor going on in the
midst of a file.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from edge_ad.errors import SourceError

HEADER_BYTES = 24
RECORD_BYTES = 16
MAX_RECORD_BYTES = 1 << 20  # more than any capture length; a larger one is damage
_MAX_INCOMPLETE = 64  # datagrams whose fragments are waited for
_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000), b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1), b"\xa1\xb2\x3c\x4d": (">", 1),
}  # fmt: skip
_OTHER_MAGICS = {
    b"\x0a\x0d\x0d\x0a": ("is a pcapng capture", "convert it: editcap -F pcap FILE OUT.pcap"),
    b"\x1f\x8b": ("is compressed", "unpack it: gunzip FILE"),
    b"\x28\xb5\x2f\xfd": ("is compressed", "unpack it: unzstd FILE"),
}
_ETHERNET = 1
_LINK_HEADERS = {
    0: 4, 108: 4, _ETHERNET: 14, 12: 0, 14: 0, 101: 0, 113: 16, 228: 0, 229: 0, 276: 20,
}  # fmt: skip
_VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
_UDP = 17


@dataclass(frozen=True)
class Datagram:
    """data: the payload. port: it was sent to. ts_ns: of the capture, UTC. index, offset: of the (first) record."""

    data: bytes
    port: int
    ts_ns: int
    index: int
    offset: int


@dataclass
class _Fragments:
    index: int
    offset: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    size: int | None = None

    def whole(self) -> bytes | None:
        """The datagram, if all of it is there."""
        data = b""
        for start in sorted(self.pieces):
            if start > len(data):
                return None
            data = data[:start] + self.pieces[start]
        return data if self.size is not None and len(data) >= self.size else None


class PcapFile:
    """A capture, read record by record; a few at a time are in memory.

    end: offset behind the last whole record that was read. loss: why the file ends early, once it has. incomplete:
    datagrams that were captured in part only.
    """

    def __init__(self, path: Path):
        """Raises SourceError for a file that is missing, no classic pcap, or of a network that is not known."""
        self.path = path
        self.end = HEADER_BYTES
        self.loss: str | None = None
        self.incomplete = 0
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise SourceError(f"cannot be read ({error.strerror})", where=path) from error
        try:
            self._read_header()
        except SourceError:
            self._file.close()
            raise
        self._fragments: OrderedDict[tuple[bytes, bytes], _Fragments] = OrderedDict()

    def __enter__(self) -> PcapFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def starts_record(self, offset: int) -> bool:
        """Whether a whole record, or the end of the file, is at `offset`."""
        size = self.path.stat().st_size
        if not HEADER_BYTES <= offset < size:
            return offset == size
        self._file.seek(offset)
        header = self._file.read(RECORD_BYTES)
        if len(header) < RECORD_BYTES:
            return False
        length: int = self._record.unpack(header)[2]
        return length <= MAX_RECORD_BYTES and offset + RECORD_BYTES + length <= size

    def datagrams(self, offset: int = HEADER_BYTES, index: int = 0) -> Iterator[Datagram]:
        """The UDP datagrams from the record at `offset` on, which is the `index`-th."""
        for ts_ns, captured, offset_, index_ in self._records(offset, index):
            packet = _network_packet(captured, self._link)
            datagram = self._transport(packet, index_, offset_)
            if datagram is None:
                continue
            segment, first = datagram
            if len(segment) < 8:
                self.incomplete += 1
                continue
            _, port, length, _ = struct.unpack_from(">HHHH", segment)
            if length > len(segment):
                self.incomplete += 1
                continue
            yield Datagram(segment[8 : length or None], port, ts_ns, *first)
        self.incomplete += len(self._fragments)
        self._fragments.clear()

    def _read_header(self) -> None:
        header = self._file.read(HEADER_BYTES)
        known = _MAGICS.get(header[:4])
        if known is None or len(header) < HEADER_BYTES:
            for magic, (what, hint) in _OTHER_MAGICS.items():
                if header.startswith(magic):
                    raise SourceError(what, where=self.path, hint=hint)
            raise SourceError(
                "is no pcap capture", where=self.path, hint="record one: tcpdump -s 0 -w FILE.pcap udp"
            )
        order, self._ns_per_fraction = known
        self._record = struct.Struct(f"{order}IIII")
        self._link = struct.unpack_from(f"{order}I", header, 20)[0] & 0xFFFF
        if self._link not in _LINK_HEADERS:
            raise SourceError(
                f"was captured on a network of link type {self._link}", where=self.path,
                hint="known: Ethernet, raw IP, Linux cooked (tcpdump -i any), loopback",
            )  # fmt: skip

    def _records(self, offset: int, index: int) -> Iterator[tuple[int, bytes, int, int]]:
        """Time in nanoseconds, bytes, offset and number of each record."""
        self._file.seek(offset)
        self.end = offset
        while header := self._file.read(RECORD_BYTES):
            if len(header) < RECORD_BYTES:
                self.loss = f"ends in the midst of packet {index + 1}"
                return
            seconds, fraction, length, _ = self._record.unpack(header)
            if length > MAX_RECORD_BYTES:
                self.loss = f"is damaged at byte {self.end}, in packet {index + 1}"
                return
            captured = self._file.read(length)
            if len(captured) < length:
                self.loss = f"ends in the midst of packet {index + 1}"
                return
            start, self.end = self.end, self.end + RECORD_BYTES + length
            yield seconds * 1_000_000_000 + fraction * self._ns_per_fraction, captured, start, index
            index += 1

    def _transport(self, packet: bytes, index: int, offset: int) -> tuple[bytes, tuple[int, int]] | None:
        """The UDP header and payload of an IP packet, whole or as its last fragment is there, and where it began."""
        version = packet[0] >> 4 if packet else 0
        if version == 6 and len(packet) >= 40 and packet[6] == _UDP:
            return packet[40:], (index, offset)
        if version != 4 or len(packet) < 20 or packet[9] != _UDP:
            return None
        header, total = 4 * (packet[0] & 15), int.from_bytes(packet[2:4], "big")
        segment = packet[header : total or None]
        flags = int.from_bytes(packet[6:8], "big")
        more, start = bool(flags & 0x2000), 8 * (flags & 0x1FFF)
        if not more and not start:
            return segment, (index, offset)
        if len(packet) < total:
            return None  # its datagram stays incomplete
        key = packet[12:20], packet[4:6]
        fragments = self._fragments.setdefault(key, _Fragments(index, offset))
        fragments.pieces[start] = segment
        if not more:
            fragments.size = start + len(segment)
        whole = fragments.whole()
        if whole is not None:
            del self._fragments[key]
            return whole, (fragments.index, fragments.offset)
        if len(self._fragments) > _MAX_INCOMPLETE:
            self._fragments.popitem(last=False)
            self.incomplete += 1
        return None


def _network_packet(frame: bytes, link: int) -> bytes:
    """The IP packet of a captured frame; empty for other protocols."""
    start = _LINK_HEADERS[link]
    if link == _ETHERNET:
        while (kind := int.from_bytes(frame[start - 2 : start], "big")) in _VLAN_TYPES:
            start += 4
        if kind not in (0x0800, 0x86DD):
            return b""
    return frame[start:]
