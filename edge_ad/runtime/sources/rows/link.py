"""Rows in frames of the link: what a microcontroller measures (docs/link.md, SAMPLES)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import serial

from edge_ad.errors import BoardError, LinkError, SourceError
from edge_ad.firmware_bridge.client import BoardClient, SampleStream, stop_samples_frame
from edge_ad.firmware_bridge.exchange import ANSWER, BOOT, FIRST_WAIT_S, Exchange
from edge_ad.firmware_bridge.frames import SEQ_MODULUS, Decoder, Frame, FrameType
from edge_ad.firmware_bridge.samples import INDEX_MODULUS, parse_samples
from edge_ad.runtime.series import Chunk
from edge_ad.runtime.series.windows import RATE_TOLERANCE
from edge_ad.runtime.sources.rows.clock import RowClock
from edge_ad.runtime.sources.rows.lines import open_reader
from edge_ad.runtime.sources.rows.live import MISSING, UNREADABLE, Piece
from edge_ad.runtime.sources.rows.options import LinkOptions
from edge_ad.runtime.sources.rows.reading import PortReader

_KEPT_FRAMES = 64  # of which a repetition is known
_ASK_S = 10.0
_FRAME_S = 0.1  # rows of about so long, or of a hop if that is shorter, go into a frame


class LinkRows:
    """The rows of SAMPLES frames, in order, each of them once.

    Rows that never came leave a gap; a frame that was sent twice is dropped. An index that goes back to rows that were
    not these says that the device started anew: a SourceError.
    """

    def __init__(
        self, reader: PortReader, n: int, clock: RowClock | None, *, where: str, stall_s: float,
        next_index: int | None = None, waiting: Sequence[Frame] = (), decoder: Decoder | None = None,
    ):  # fmt: skip
        """next_index: of the first row, where that is known. waiting, decoder: frames that have come already, and what
        has the beginning of the next."""
        self.unreadable = 0
        self._reader = reader
        self._n = n
        self._clock = clock
        self._where = where
        self._stall_s = stall_s
        self._next = next_index
        self._waiting = list(waiting)
        self._decoder = decoder or Decoder()
        self._rejected = 0
        self._rows = 0
        self._seen: deque[tuple[int, bytes]] = deque(maxlen=_KEPT_FRAMES)

    def __iter__(self) -> Iterator[Piece]:
        frames, self._waiting = self._waiting, []
        deadline = time.monotonic() + self._stall_s
        arrival = time.time()
        while True:
            for frame in frames:
                if (piece := self._piece(frame, arrival)) is not None:
                    deadline = time.monotonic() + self._stall_s
                    yield piece
            if time.monotonic() >= deadline:
                raise SourceError(
                    f"no rows for {self._stall_s:g} s", where=self._where,
                    hint="check the device, its cable and the baud rate",
                )  # fmt: skip
            data = self._reader.read(deadline - time.monotonic())
            if data is None:
                return
            arrival = time.time()
            frames = self._decoder.feed(data)

    def close(self) -> None:
        """Give the port back, from any thread; a board that was asked for rows is told to stop."""
        self._reader.close()

    def _piece(self, frame: Frame, arrival: float) -> Piece | None:
        if frame.type == BOOT:
            raise SourceError("the board restarted", where=self._where, hint="it has to be asked anew")
        if frame.type != FrameType.SAMPLES:
            return None
        first, rows = self._read(frame.payload)
        missing = 0 if self._next is None else (first - self._next) % INDEX_MODULUS
        if missing >= INDEX_MODULUS // 2:
            if (first, frame.payload) in self._seen:
                return None
            raise SourceError(
                f"the number of its rows goes back from {self._next} to {first}", where=self._where,
                hint="the device started anew",
            )  # fmt: skip
        if len(rows) == 0:
            return None
        self._seen.append((first, frame.payload))
        self._next = (first + len(rows)) % INDEX_MODULUS
        reason = self._reason()
        self._rows += len(rows)
        stamps = None if self._clock is None else self._clock.stamps(missing, len(rows), arrival)
        chunk = Chunk(stamps, rows, None, self._rows - len(rows) + 1)
        return Piece(chunk, arrival, reason if missing else None)

    def _reason(self) -> str:
        """Why rows may be missing; frames that came damaged are counted, but for the one that reading began in."""
        rejected = self._decoder.rejected.total() - self._rejected
        self._rejected += rejected
        self.unreadable += rejected if self._rows else 0
        return UNREADABLE if rejected else MISSING

    def _read(self, payload: bytes) -> tuple[int, np.ndarray[Any, np.dtype[np.float32]]]:
        try:
            first, rows = parse_samples(payload)
        except LinkError as error:
            raise SourceError(error.what, where=self._where, hint=error.hint) from error
        if rows.shape[1] != self._n:
            raise _other_channels(rows.shape[1], self._n, self._where)
        return first, rows


def open_link(
    port: str,
    n: int,
    rate_hz: float | None,
    options: LinkOptions | None = None,
    *,
    hop: int = 1,
    stall_s: float,
) -> LinkRows:
    """Rows of `n` channels in SAMPLES frames on a serial port.

    port: a device file or pyserial URL. rate_hz: rows a second; None: they have no time. hop: rows between two windows.
    stall_s: longest time without rows. Raises SourceError when the port cannot be opened, when a board does not answer
    or has no sensor, and for other channels or another rate than these.
    """
    options = options or LinkOptions()
    where = f"link:{port}"
    reader = open_reader(port, options.baud, where)
    try:
        if not options.ask:
            clock = None if rate_hz is None else RowClock(rate_hz, where=where)
            return LinkRows(reader, n, clock, where=where, stall_s=stall_s)
        tap = _Tap(reader)
        rows_a_frame = hop if rate_hz is None else max(1, min(hop, int(rate_hz * _FRAME_S)))
        stream = _ask(tap, options.baud, rows_a_frame, min(stall_s, _ASK_S), where)
        if stream.channels != n:
            raise _other_channels(stream.channels, n, where)
        if rate_hz and stream.rate_hz and abs(stream.rate_hz - rate_hz) > RATE_TOLERANCE * rate_hz:
            raise SourceError(
                f"measures {stream.rate_hz:.4g} rows a second, the detector was fitted at {rate_hz:.4g}",
                where=where, hint="set the device's rate, or fit a detector for this one",
            )  # fmt: skip
        decoder = Decoder()
        waiting = _behind_answer(decoder.feed(bytes(tap.heard)))
        reader.parting = stop_samples_frame(tap.next_seq)
        clock = None
        if rate_hz is not None:
            clock = RowClock(rate_hz, where=where, paced=stream.rate_hz is not None)
        return LinkRows(
            reader, n, clock, where=where, stall_s=stall_s, next_index=stream.next_index, waiting=waiting,
            decoder=decoder,
        )  # fmt: skip
    except BaseException:
        reader.close()
        raise


class _Tap:
    """A port as `Exchange` uses it, that keeps all it hears: rows may come right behind the answer."""

    def __init__(self, reader: PortReader):
        self.timeout = 0.0
        self.in_waiting = 0
        self.heard = bytearray()
        self._said = b""
        self._reader = reader

    def read(self, size: int) -> bytes:
        data = self._reader.read(self.timeout)
        if data is None:
            raise serial.SerialException("the port was closed")
        self.heard += data
        return data

    def write(self, data: bytes) -> None:
        self._said = data
        self._reader.port.write(data)

    @property
    def next_seq(self) -> int:
        """Of a request that comes after the last one."""
        return (Decoder().feed(self._said)[-1].seq + 1) % SEQ_MODULUS


def _ask(tap: _Tap, baud: int, rows_a_frame: int, deadline_s: float, where: str) -> SampleStream:
    wait_s = FIRST_WAIT_S + 20_000 / baud  # two frames on a slow line
    client = BoardClient(Exchange(tap, where=where, first_wait_s=wait_s), where=where)
    try:
        client.hello(deadline_s=deadline_s)
        return client.start_samples(rows_a_frame)
    except BoardError as error:
        raise SourceError(error.what, where=where, hint=error.hint) from error
    except LinkError as error:
        hint = "check the cable and the baud rate; a device that only sends: ?ask=false"
        raise SourceError(error.what, where=where, hint=hint) from error


def _behind_answer(frames: list[Frame]) -> list[Frame]:
    """What came behind the last answer."""
    answers = [i for i, frame in enumerate(frames) if frame.type >= ANSWER]
    return frames[answers[-1] + 1 :]


def _other_channels(sent: int, n: int, where: str) -> SourceError:
    return SourceError(
        f"sends {sent} channels, the bundle takes {n}",
        where=where,
        hint="connect the sensors it was fitted on",
    )
