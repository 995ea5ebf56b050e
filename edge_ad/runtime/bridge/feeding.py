"""Giving a board that watches by itself what a sensor would: rows of series, or whole inputs, over the link."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import InputSpec, Payload, WindowSpec
from edge_ad.errors import DataError, EngineError
from edge_ad.firmware_bridge import watching
from edge_ad.firmware_bridge.client import BoardClient
from edge_ad.firmware_bridge.connection import Connection
from edge_ad.firmware_bridge.flasher import is_live, read_header
from edge_ad.firmware_bridge.frames import Frame, FrameType, event_ack_payload
from edge_ad.firmware_bridge.port_spec import PortSpec
from edge_ad.runtime.bridge.wire import read_event
from edge_ad.runtime.deployment import LiveBundle
from edge_ad.runtime.events import Event
from edge_ad.runtime.preprocess import preprocess
from edge_ad.runtime.series.readers import Chunk, open_series
from edge_ad.runtime.sources import open_source
from edge_ad.runtime.station.engines import payload_on

Numbered = Iterator[tuple[int, npt.NDArray[np.float32]]]


class Ear:
    """Takes the events that a board says unasked, each once. heard: called with each, in order.

    `take` is to be given frames; `answer` acknowledges what was taken since, which must not happen within a request.
    """

    def __init__(self, heard: Callable[[Event], None]):
        self._heard = heard
        self._to_answer: list[int] = []
        self._highest: dict[str, int] = {}

    def take(self, frame: Frame) -> None:
        """A frame that came unasked. Raises DataError for an event that is none."""
        if frame.type != FrameType.EVENT:
            return
        event = read_event(frame.payload, datetime.now(timezone.utc))
        self._to_answer.append(event.seq)
        if event.seq > self._highest.get(event.boot_id, 0):
            self._highest[event.boot_id] = event.seq
            self._heard(event)

    def answer(self, client: BoardClient) -> None:
        """Tell the board that its events were taken."""
        while self._to_answer:
            client.tell(Frame(FrameType.EVENT_ACK, 0, event_ack_payload(self._to_answer.pop())))


def require_live(live: LiveBundle, target: str | None, line: Connection) -> Payload:
    """The bundle's payload for a board, which is live there. Raises EngineError, SchemaError, UsageError."""
    payload = payload_on(live.manifest, target or live.target, line)
    header = read_header((live.folder / payload.model).read_bytes())
    if not is_live(line.hello, header):
        raise EngineError(
            "another model is live on the board, or none", where=str(line.address),
            hint="put this one on it first: edge-ad flash BUNDLE --port …",
        )  # fmt: skip
    return payload


def feed_rows(client: BoardClient, ear: Ear, path: Path, window: WindowSpec) -> int:
    """Give a board the rows of a series file, as a sensor with these channels would; how many.

    Rows that the clock shows to be missing, or that hold a value that is no number, are missing on the board too.
    Raises DataError as the reader does.
    """
    series = open_series(path, window.channels)
    n = 0
    for first, rows in numbered_rows(series.chunks(), window):
        most = watching.rows_a_frame(client, rows.shape[1], rows.itemsize)
        for begin in range(0, len(rows), most):
            piece = rows[begin : begin + most]
            watching.feed(client, first + begin, piece)
            ear.answer(client)
            n += len(piece)
    if n == 0:
        raise DataError("holds no row of numbers", where=path)
    return n


def numbered_rows(chunks: Iterator[Chunk], window: WindowSpec) -> Numbered:
    """Stretches of rows without a gap, and the number of the first row of each."""
    at, before = 0, None
    for chunk in chunks:
        values, stamps = chunk.values, chunk.stamps
        numbers = np.arange(at, at + len(values))
        if stamps is not None and window.rate_hz is not None and len(stamps):
            steps = np.diff(stamps, prepend=stamps[0] if before is None else before) * window.rate_hz
            missing = np.maximum(np.rint(steps).astype(np.int64) - 1, 0)
            if before is None:
                missing[0] = 0
            numbers = numbers + np.cumsum(missing)
            before = float(stamps[-1])
        if not len(values):
            continue
        at = int(numbers[-1]) + 1
        whole = np.isfinite(values).all(axis=1)
        numbers, values = numbers[whole], values[whole]
        for piece in np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(numbers) != 1) + 1):
            if len(piece):
                yield int(numbers[piece[0]]), np.ascontiguousarray(values[piece], np.float32)


def feed_inputs(client: BoardClient, ear: Ear, source: str, spec: InputSpec, port: PortSpec) -> int:
    """Give a board each input of a source (images, scans), preprocessed here, to run on and to judge; how many."""
    opened, n = open_source(source, input=spec), 0
    try:
        for sample in opened:
            values = port.quantize(preprocess(spec.preprocess, sample.data))
            client.set_input(0, port.raw(values))
            client.run()
            ear.answer(client)
            n += 1
    finally:
        opened.close()
    if n == 0:
        raise DataError(f"gives no {spec.noun}", where=source)
    return n


def hear_out(client: BoardClient, ear: Ear, *, quiet_s: float = 0.3, longest_s: float = 30.0) -> None:
    """Listen until the board has nothing left to say."""
    for _ in range(max(1, int(longest_s / quiet_s))):
        client.listen(quiet_s)
        ear.answer(client)
        if watching.statistics(client).waiting == 0:
            return
