"""A board in Python on a pseudo-terminal, after docs/link.md, behind a line that loses, damages and reorders frames.

Its "network" adds 1 to each of 300 bytes. Images begin with a word that says what becomes of them: b"GOOD", b"BADI"
(refused), b"GOLD" (fails its golden vectors).
"""

from __future__ import annotations

import os
import pty
import random
import select
import struct
import termios
import threading
import tty
import zlib
from dataclasses import dataclass, field, replace

from edge_ad.firmware_bridge.frames import DELIMITER, Decoder, Frame, encode

SIZE = 300
SLOT_BYTES = 1 << 16
MAX_PAYLOAD = 128


def image(kind: bytes, length: int, seed: int = 0) -> bytes:
    """An image as far as a flasher looks at it: a whole header with a right CRC."""
    body = kind + random.Random(seed).randbytes(length - 36)
    tail = struct.pack("<I", 1000) + bytes(12) + body  # arena, then what nobody reads here
    head = struct.pack("<IHHII", 0x4D444145, 1, 0, 16 + len(tail), zlib.crc32(tail))
    return head + tail


@dataclass
class Wire:
    """Probabilities that a frame is lost, damaged, sent twice, or comes after its successor."""

    loss: float = 0.0
    damage: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    seed: int = 0
    _held: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def carry(self, raw: bytes) -> list[bytes]:
        """What arrives of one frame."""
        chance = self._random.random
        if chance() < self.loss:
            return []
        if chance() < self.damage:
            position = self._random.randrange(len(raw))
            raw = (
                raw[:position]
                + bytes([raw[position] ^ (1 << self._random.randrange(8))])
                + raw[position + 1 :]
            )
        frames = [raw, raw] if chance() < self.twice else [raw]
        if chance() < self.late:
            self._held += frames
            return []
        frames, self._held = frames + self._held, []
        return frames


@dataclass
class Flash:
    """What survives a loss of power."""

    slots: list[bytearray] = field(default_factory=lambda: [bytearray(), bytearray()])
    begun: list[tuple[int, int]] = field(
        default_factory=lambda: [(0, 0), (0, 0)]
    )  # length and CRC of an upload
    records: list[tuple[int, int, int] | None] = field(
        default_factory=lambda: [None, None]
    )  # sequence, length, CRC
    boots: int = 0

    @property
    def live(self) -> int | None:
        valid = [(r[0], n) for n, r in enumerate(self.records) if r is not None]
        return max(valid)[1] if valid else None


class FakeBoard:
    """Serves `path` until `close`; a context manager. executed: types of the requests that were carried out."""

    def __init__(
        self,
        wire: Wire | None = None,
        flash: Flash | None = None,
        *,
        cut_after: int | None = None,
        tells: bool = True,
    ):
        """cut_after: carried-out requests after which the power fails; the board then comes back at once. tells:
        whether its BOOT frame gets through."""
        self.flash = flash or Flash()
        self.executed: list[int] = []
        self.silent = False
        wire = wire or Wire()
        self._wire_in, self._wire_out = replace(wire, _held=[]), replace(wire, seed=wire.seed + 1, _held=[])
        self._cut_after, self._tells = cut_after, tells
        self._ours, theirs = pty.openpty()
        tty.setraw(theirs, termios.TCSANOW)
        self.path = os.ttyname(theirs)
        self._theirs = theirs
        self._stop_read, self._stop_write = os.pipe()
        self._start()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> FakeBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join(5)
        for handle in (self._ours, self._theirs, self._stop_read, self._stop_write):
            os.close(handle)

    def send(self, frame: Frame) -> None:
        """Something unasked."""
        self._put(encode(frame))

    def _start(self) -> None:
        self.flash.boots += 1
        self._decoder = Decoder(max_payload_bytes=MAX_PAYLOAD)
        self._last: tuple[int, bytes] | None = None
        self._uploading: int | None = None
        self._inferences = 0
        self._input, self._output = bytearray(SIZE), bytes(SIZE)

    def _serve(self) -> None:
        pending = b""
        while True:
            ready, _, _ = select.select([self._ours, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            *whole, pending = (pending + os.read(self._ours, 4096)).split(DELIMITER)
            for raw in (w + DELIMITER for w in whole if w):
                for carried in self._wire_in.carry(raw):
                    for frame in self._decoder.feed(carried):
                        self._take(frame)

    def _put(self, raw: bytes) -> None:
        for carried in self._wire_out.carry(raw):
            if not self.silent:
                os.write(self._ours, carried)

    def _take(self, frame: Frame) -> None:
        if frame.type == 0x01:
            self._last = None
        if self._last is not None and frame.seq == self._last[0]:
            self._put(self._last[1])
            return
        if self._last is not None and (frame.seq - self._last[0]) % 65536 > 32768:
            return  # older than what was answered last
        answer = encode(Frame(frame.type + 0x80, frame.seq, self._execute(frame.type, frame.payload)))
        self.executed.append(frame.type)
        if self._cut_after is not None and len(self.executed) >= self._cut_after:
            self._cut_after = None
            self._start()
            if self._tells:
                self._put(encode(Frame(0x42, 0, self._hello())))
            return
        self._last = frame.seq, answer
        self._put(answer)

    def _hello(self) -> bytes:
        live, flash = self.flash.live, self.flash
        length, crc = (0, 0) if live is None else flash.records[live][1:]
        name = b"fake\n"
        return struct.pack("<BHBHIIbIIIB8sB", 1, 1, 0, MAX_PAYLOAD, SLOT_BYTES, 4096, -1 if live is None else live,
                           crc, length, flash.boots, 0, b"12345678", len(name)) + name  # fmt: skip

    def _execute(self, kind: int, payload: bytes) -> bytes:
        try:
            return getattr(self, f"_request_{kind:02x}")(payload)
        except AttributeError:
            return b"\x01"
        except struct.error:
            return b"\x02"

    def _request_01(self, payload: bytes) -> bytes:
        return b"\0" + self._hello()

    def _request_02(self, payload: bytes) -> bytes:
        return b"\0" + struct.pack("<7I", 0, 0, self._inferences, 100, 200, 300, 1000)

    def _request_03(self, payload: bytes) -> bytes:
        length, crc = struct.unpack("<II", payload)
        if length > SLOT_BYTES:
            return b"\x05"
        slot = 0 if self.flash.live is None else 1 - self.flash.live
        if self.flash.begun[slot] != (length, crc) or self.flash.records[slot] is not None:
            self.flash.records[slot] = None
            self.flash.slots[slot].clear()
            self.flash.begun[slot] = length, crc
        self._uploading = slot
        return b"\0" + struct.pack("<BI", slot, len(self.flash.slots[slot]))

    def _request_04(self, payload: bytes) -> bytes:
        (offset,) = struct.unpack_from("<I", payload)
        if self._uploading is None:
            return b"\x04"
        slot = self.flash.slots[self._uploading]
        if offset > len(slot) or len(payload) - 4 > MAX_PAYLOAD:
            return b"\x02"
        slot[offset:] = payload[4:]
        return b"\0" + struct.pack("<I", len(slot))

    def _request_05(self, payload: bytes) -> bytes:
        if self._uploading is None:
            return b"\x04"
        slot, (length, crc) = self._uploading, self.flash.begun[self._uploading]
        content = bytes(self.flash.slots[slot])
        if len(content) != length or zlib.crc32(content[16:]) != crc:
            return b"\x06\x05"
        if content[32:36] == b"BADI":
            return b"\x06\x06"
        if content[32:36] == b"GOLD":
            return b"\x07" + struct.pack("<I", 3)
        live = self.flash.live
        sequence = 1 if live is None else self.flash.records[live][0] + 1
        self.flash.records[slot] = sequence, length, crc
        self._uploading = None
        return b"\0" + struct.pack("<I", sequence)

    def _request_06(self, payload: bytes) -> bytes:
        live = self.flash.live
        if live is None or self.flash.records[1 - live] is None:
            return b"\x04"
        _, length, crc = self.flash.records[1 - live]
        self.flash.records[1 - live] = self.flash.records[live][0] + 1, length, crc
        return b"\0" + bytes([1 - live])

    def _request_07(self, payload: bytes) -> bytes:
        index, offset = struct.unpack_from("<BI", payload)
        if index or offset + len(payload) - 5 > SIZE:
            return b"\x02"
        self._input[offset : offset + len(payload) - 5] = payload[5:]
        return b"\0"

    def _request_08(self, payload: bytes) -> bytes:
        if self.flash.live is None:
            return b"\x03"
        self._inferences += 1
        self._output = bytes((b + 1) % 256 for b in self._input)
        self._input = bytearray(SIZE)  # as the arena: an input does not outlive its inference
        return b"\0" + struct.pack("<QII", 5_000_000_000, 25_000_000, 0)

    def _request_09(self, payload: bytes) -> bytes:
        _, offset, length = struct.unpack("<BIH", payload)
        return b"\0" + self._output[offset : offset + length]

    def _request_0b(self, payload: bytes) -> bytes:
        self._start()
        return b"\0"

    def _request_0c(self, payload: bytes) -> bytes:
        return b"\0" + struct.pack("<B5I", 0, 0, 0, 0, 0, 0)
