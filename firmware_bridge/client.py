"""What a host asks of a board (docs/link.md), as functions with typed results."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from edge_ad.errors import BoardError, LinkError, RestartError
from edge_ad.firmware_bridge.exchange import BOOT, FIRST_WAIT_S, HELLO, Exchange
from edge_ad.firmware_bridge.frames import Frame, encode
from edge_ad.firmware_bridge.ports import DEFAULT_BAUD, open_port
from edge_ad.firmware_bridge.samples import SampleFormat, SampleStream

PROTOCOL = 1
ALL_STEPS = 0xFFFFFFFF
KERNEL_SETS = ("plain", "dsp", "mve")
RESET_CAUSES = ("power", "request", "watchdog", "fault")

_STATUS, _BEGIN, _DATA, _COMMIT, _ROLLBACK = 0x02, 0x03, 0x04, 0x05, 0x06
_INPUT, _RUN, _OUTPUT, _TENSOR, _REBOOT, _FAULT = 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C
_SAMPLE = 0x0D
_NO_SENSOR = 9  # a status
_MILLIHERTZ = 1000
_QUICK_S, _SLOW_S = 10.0, 120.0  # an erase, an inference or a commit may take its time

_HELLO = struct.Struct("<BHBHIIbIIIB8sB")
_FRAME_BITS = 10 * 1100  # of a frame with 1 KiB
_INITIAL_PAYLOAD = 64  # of a board that has not said hello yet


@dataclass(frozen=True)
class Hello:
    """Who answers. live_slot: None without a live model, whose CRC and length are then 0. build: of the firmware."""

    abi: int
    kernels: str
    max_payload: int
    slot_bytes: int
    arena_bytes: int
    live_slot: int | None
    live_crc: int
    live_length: int
    boots: int
    reset_cause: str
    build: str
    board: str


@dataclass(frozen=True)
class Status:
    """Counters since the start, and memory in bytes; stack_used: its high-water mark."""

    requests: int
    rejected_frames: int
    inferences: int
    stack_used: int
    stack_bytes: int
    static_bytes: int
    arena_used: int


@dataclass(frozen=True)
class Ran:
    """What an inference took. instructions: exact, None where the board cannot tell."""

    ticks: int
    ticks_hz: int
    instructions: int | None


@dataclass(frozen=True)
class Fault:
    """The last fault: the exception's number, registers at that time, and how often the board had started."""

    kind: int
    pc: int
    lr: int
    status: int
    address: int
    boots: int


class BoardClient:
    """A board behind a serial port; a context manager that closes it.

    All methods raise LinkError when the board does not answer, RestartError when it restarted meanwhile, and
    BoardError when it refuses.
    """

    def __init__(self, exchange: Exchange, *, where: str):
        self._exchange = exchange
        self._where = where
        self._max_payload = _INITIAL_PAYLOAD

    def __enter__(self) -> BoardClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the port."""
        self._exchange.close()

    def hello(self, *, deadline_s: float = _QUICK_S) -> Hello:
        """Who is there; makes the board forget its last answer. Repeated until `deadline_s`, since a board that is
        starting answers late."""
        raw = self._exchange.request(HELLO, bytes([PROTOCOL]), deadline_s=deadline_s)
        hello = parse_hello(raw, where=self._where)
        self._max_payload = hello.max_payload
        return hello

    def status(self) -> Status:
        """Counters and memory."""
        return Status(*self._unpack("<7I", self._exchange.request(_STATUS, deadline_s=_QUICK_S)))

    def begin(self, length: int, crc: int) -> tuple[int, int]:
        """Start to upload an image; (slot, offset to go on from)."""
        raw = self._exchange.request(_BEGIN, struct.pack("<II", length, crc), deadline_s=_SLOW_S)
        slot, offset = self._unpack("<BI", raw)
        return slot, offset

    def data(self, offset: int, block: bytes) -> int:
        """Upload a block of at most `data_bytes`; the next offset."""
        raw = self._exchange.request(_DATA, struct.pack("<I", offset) + block, deadline_s=_SLOW_S)
        return self._unpack("<I", raw)[0]

    @property
    def repeated(self) -> int:
        """How often a request had to be repeated so far."""
        return self._exchange.repeated

    @property
    def data_bytes(self) -> int:
        """Most bytes of a DATA request."""
        return self._max_payload - 4

    def commit(self) -> int:
        """Have the board check and prove what was uploaded, and make it live; the slot's sequence number."""
        return self._unpack("<I", self._exchange.request(_COMMIT, deadline_s=_SLOW_S))[0]

    def rollback(self) -> int:
        """Make the other slot's model live again; that slot."""
        return self._unpack("<B", self._exchange.request(_ROLLBACK, deadline_s=_SLOW_S))[0]

    def set_input(self, index: int, values: bytes) -> None:
        """Write the whole of an input, in pieces that the board takes."""
        step = self._max_payload - 5
        for offset in range(0, len(values), step):
            block = struct.pack("<BI", index, offset) + values[offset : offset + step]
            self._exchange.request(_INPUT, block, deadline_s=_QUICK_S)

    def run(self, steps: int = ALL_STEPS) -> Ran:
        """Run the live model, or its first `steps` steps. Inputs have to be written anew before the next time."""
        ticks, hz, instructions = self._unpack(
            "<QII", self._exchange.request(_RUN, struct.pack("<I", steps), deadline_s=_SLOW_S)
        )
        return Ran(ticks, hz, instructions or None)

    def output(self, index: int, size: int) -> bytes:
        """The `size` bytes of an output."""
        return self._read(_OUTPUT, "<BIH", index, size)

    def tensor(self, step: int, size: int) -> bytes:
        """What step `step` wrote; only right after `run(step + 1)`, of which it was the last."""
        return self._read(_TENSOR, "<IIH", step, size)

    def reboot(self, *, deadline_s: float = _QUICK_S) -> Hello:
        """Restart the board and wait until it is back."""
        before = self.hello().boots
        with suppress(RestartError):  # its answer was lost
            self._exchange.request(_REBOOT, deadline_s=_QUICK_S)
        # It may still answer before it goes down.
        for _ in range(50):
            now = self.hello(deadline_s=deadline_s)
            if now.boots != before:
                return now
            self._exchange.listen(0.1)
        raise LinkError("the board does not restart", where=self._where)

    def fault(self) -> Fault | None:
        """The last fault, which the board then forgets; None without one."""
        fault = Fault(*self._unpack("<B5I", self._exchange.request(_FAULT, deadline_s=_QUICK_S)))
        return fault if fault.kind else None

    def start_samples(self, rows_a_frame: int = 1) -> SampleStream:
        """Have the board send what its sensor measures, in SAMPLES frames that come unasked, until it is told to stop.

        rows_a_frame: wait for so many rows, or as many as a frame holds, before one is sent. Raises BoardError for a
        board without a sensor.
        """
        channels, form, millihertz, index = self._unpack("<BBII", self._sample(True, rows_a_frame))
        try:
            known = SampleFormat(form)
        except ValueError as error:
            raise self.nonsense() from error
        return SampleStream(channels, known, millihertz / _MILLIHERTZ or None, index)

    def stop_samples(self) -> None:
        """No more SAMPLES frames. Raises BoardError for a board without a sensor."""
        self._sample(False, 0)

    def ask(self, kind: int, payload: bytes, *, deadline_s: float) -> bytes:
        """Any request; the answer behind its status (`edge_ad.firmware_bridge.watching` has the further ones)."""
        return self._exchange.request(kind, payload, deadline_s=deadline_s)

    def listen(self, seconds: float) -> None:
        """Take what comes unasked for so long."""
        self._exchange.listen(seconds)

    def tell(self, frame: Frame) -> None:
        """Send a frame that has no answer."""
        self._exchange.tell(frame)

    def _sample(self, on: bool, rows: int) -> bytes:
        payload = struct.pack("<BH", on, min(rows, 0xFFFF))
        try:
            return self._exchange.request(_SAMPLE, payload, deadline_s=_QUICK_S)
        except BoardError as error:
            if error.status != _NO_SENSOR:
                raise
            raise BoardError(
                "the board has no sensor", where=self._where, hint="its port has to implement edge_port_sample",
                status=error.status, request=error.request,
            ) from error  # fmt: skip

    def _read(self, kind: int, head: str, number: int, size: int) -> bytes:
        step = self._max_payload - 1
        pieces = []
        for offset in range(0, size, step):
            length = min(step, size - offset)
            block = self._exchange.request(
                kind, struct.pack(head, number, offset, length), deadline_s=_QUICK_S
            )
            if len(block) != length:
                raise self.nonsense()
            pieces.append(block)
        return b"".join(pieces)

    def _unpack(self, layout: str, raw: bytes) -> tuple[int, ...]:
        if len(raw) != struct.calcsize(layout):
            raise self.nonsense()
        return struct.unpack(layout, raw)

    def nonsense(self) -> LinkError:
        """The error for an answer of another length."""
        return LinkError(
            "the board's answer is of another length than it should be", where=self._where,
            hint="its firmware may be of another version: edge-ad flash --program",
        )  # fmt: skip


def open_client(
    url: str,
    baud: int = DEFAULT_BAUD,
    *,
    unasked: Callable[[Frame], None] | None = None,
    first_wait_s: float | None = None,
    wrap: Callable[[Any], Any] | None = None,
) -> BoardClient:
    """A client on a device file or pyserial URL, which it holds alone. Raises PortError. Say `hello` first.

    unasked: called with each frame that is no answer. first_wait_s: for an answer, before a request is repeated; by
    default with time for two frames on a slow line. wrap: makes another port of the open one.
    """
    port = open_port(url, baud)
    port = port if wrap is None else wrap(port)
    wait_s = FIRST_WAIT_S + 2 * _FRAME_BITS / baud if first_wait_s is None else first_wait_s
    return BoardClient(Exchange(port, where=url, unasked=unasked, first_wait_s=wait_s), where=url)


def stop_samples_frame(seq: int) -> bytes:
    """The request that ends SAMPLES frames, for who does not wait for its answer. seq: one more than that of the last
    request."""
    return encode(Frame(_SAMPLE, seq, struct.pack("<BH", 0, 0)))


def parse_hello(raw: bytes, *, where: str) -> Hello:
    """The answer to HELLO, or a BOOT frame's payload without its status. Raises LinkError for another protocol."""
    if len(raw) < _HELLO.size or len(raw) != _HELLO.size + raw[_HELLO.size - 1] or raw[0] != PROTOCOL:
        raise LinkError(
            "what answers speaks no protocol that this version knows", where=where,
            hint="program the board with this version's firmware: edge-ad flash --program",
        )  # fmt: skip
    _, abi, kernels, payload, slot_bytes, arena, live, crc, length, boots, cause, build, _ = (
        _HELLO.unpack_from(raw)
    )
    if payload < _INITIAL_PAYLOAD:
        raise LinkError(f"the board takes only {payload} bytes a frame", where=where)
    return Hello(
        abi=abi,
        kernels=KERNEL_SETS[kernels] if kernels < len(KERNEL_SETS) else f"unknown ({kernels})",
        max_payload=min(payload, 4096),
        slot_bytes=slot_bytes,
        arena_bytes=arena,
        live_slot=live if live >= 0 else None,
        live_crc=crc,
        live_length=length,
        boots=boots,
        reset_cause=RESET_CAUSES[cause] if cause < len(RESET_CAUSES) else f"unknown ({cause})",
        build=build.hex(),
        board="".join(c for c in raw[_HELLO.size :].decode(errors="replace") if c.isprintable()),
    )


__all__ = [
    "ALL_STEPS", "BOOT", "BoardClient", "BoardError", "Fault", "Hello", "Ran", "SampleStream", "Status", "open_client",
    "parse_hello", "stop_samples_frame",
]  # fmt: skip
