"""Frames of the serial link: COBS between zero bytes, a small header, CRC-32.

A frame before byte stuffing, all numbers little-endian:

    version u8 | type u8 | seq u16 | length u16 | payload (length bytes) | CRC-32 u32 of all before it

It is stuffed with COBS (S. Cheshire and M. Baker, "Consistent Overhead Byte Stuffing", 1999), which leaves
no zero byte in it, and ended by one zero byte: a receiver that lost its place finds it again at the next.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from enum import IntEnum

from cobs import cobs

from edge_ad.errors import UsageError

VERSION = 1
DELIMITER = b"\x00"
MAX_PAYLOAD_BYTES = 4096  # of a host; a board names its own, smaller limit
SEQ_MODULUS = 1 << 16

_HEADER = struct.Struct("<BBHH")
_U32 = struct.Struct("<I")


class FrameType(IntEnum):
    """What a frame's payload is. Types from 0x40 on come unasked."""

    EVENT = 0x40  # one event as JSON (docs/events.md), UTF-8
    LOG = 0x41  # text, UTF-8
    EVENT_ACK = 0x45  # from who has taken an event: its `seq`, u32
    SAMPLES = 0x43  # rows that a board measured (docs/link.md)


@dataclass(frozen=True)
class Frame:
    """One frame. type: a FrameType, or a number that this version does not know. seq: 0 to 65535."""

    type: int
    seq: int
    payload: bytes


def event_ack_payload(seq: int) -> bytes:
    """Of an EVENT_ACK frame, for the event with this number."""
    return _U32.pack(seq % (1 << 32))


def acknowledged_seq(frame: Frame) -> int | None:
    """The number of the event that a frame acknowledges; None for any other frame."""
    if frame.type != FrameType.EVENT_ACK or len(frame.payload) != _U32.size:
        return None
    return int(_U32.unpack(frame.payload)[0])


def encode(frame: Frame, *, max_payload_bytes: int = MAX_PAYLOAD_BYTES) -> bytes:
    """The frame's bytes on the line, its delimiter included. Raises UsageError for a field out of range."""
    if len(frame.payload) > max_payload_bytes:
        raise UsageError(f"a frame carries at most {max_payload_bytes} bytes, not {len(frame.payload)}")
    try:
        body = _HEADER.pack(VERSION, frame.type, frame.seq, len(frame.payload)) + frame.payload
    except struct.error as error:
        raise UsageError(f"a frame's type is 0 to 255 and its seq 0 to 65535 ({error})") from error
    return bytes(cobs.encode(body + _U32.pack(zlib.crc32(body)))) + DELIMITER


class Decoder:
    """Takes bytes as they come, in pieces of any size, and gives the whole frames among them.

    Whatever else is on the line (noise, a boot banner, half a frame) is skipped up to the next zero byte.
    `rejected` counts what was skipped by cause: `cobs`, `length`, `crc`, `version`, `oversize`.
    """

    def __init__(self, *, max_payload_bytes: int = MAX_PAYLOAD_BYTES):
        self.rejected: Counter[str] = Counter()
        raw = _HEADER.size + max_payload_bytes + _U32.size
        self._limit = raw + raw // 254 + 1  # longest stuffed form: one byte in every 254, rounded up
        self._pending = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete, in order."""
        frames = []
        *ended, rest = data.split(DELIMITER)
        for piece in ended:
            self._append(piece)
            frame = None if self._skipping or not self._pending else self._decode(bytes(self._pending))
            if frame is not None:
                frames.append(frame)
            self._pending.clear()
            self._skipping = False
        self._append(rest)
        return frames

    def _append(self, piece: bytes) -> None:
        """Keep bytes of a frame that is under way, never more than the longest frame has."""
        if self._skipping or len(self._pending) + len(piece) <= self._limit:
            self._pending += b"" if self._skipping else piece
            return
        self.rejected["oversize"] += 1
        self._skipping = True
        self._pending.clear()

    def _decode(self, stuffed: bytes) -> Frame | None:
        try:
            raw = bytes(cobs.decode(stuffed))
        except cobs.DecodeError:
            self.rejected["cobs"] += 1
            return None
        if len(raw) < _HEADER.size + _U32.size:
            self.rejected["length"] += 1
            return None
        body, (crc,) = raw[: -_U32.size], _U32.unpack(raw[-_U32.size :])
        if zlib.crc32(body) != crc:
            self.rejected["crc"] += 1
            return None
        version, type_, seq, length = _HEADER.unpack_from(body)
        if version != VERSION or length != len(body) - _HEADER.size:
            self.rejected["version" if version != VERSION else "length"] += 1
            return None
        return Frame(type_, seq, body[_HEADER.size :])
