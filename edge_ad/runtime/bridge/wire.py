"""What comes on a line: events as frames of the link or as JSON lines, among noise and other traffic."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Literal

from edge_ad.errors import DataError
from edge_ad.firmware_bridge.exchange import BOOT
from edge_ad.firmware_bridge.frames import Decoder, FrameType
from edge_ad.runtime.events import EVENT_SCHEMA, Event, parse_event, rfc3339
from edge_ad.runtime.sources.rows.text import Lines

WireFormat = Literal["auto", "link", "json"]


class Kind(Enum):
    """What a device says."""

    EVENT = "event"
    LOG = "log"
    BOOT = "boot"


@dataclass(frozen=True)
class Said:
    """One thing that a device said. acknowledge: whether it takes acknowledgements."""

    kind: Kind
    body: bytes
    acknowledge: bool


class Wire:
    """Takes the bytes of one line as they come. What is neither frame nor event is passed over.

    With `auto`, what is understood first, a frame or a line that holds an event, says which of both it is from then on.
    """

    def __init__(self, format: WireFormat = "auto"):
        self.format: WireFormat = format
        self._frames = Decoder()
        self._lines = Lines()
        self._bad_lines = 0
        self._before = 0  # what was no frame before the first one: a boot banner, the end of a frame

    @property
    def rejected(self) -> int:
        """Frames that came damaged, or lines that were no events; not counted: what came before the first whole one."""
        return (
            self._frames.rejected.total() - self._before if self.format == "link" else 0
        ) + self._bad_lines

    def feed(self, data: bytes) -> list[Said]:
        """What these bytes complete, in order."""
        if self.format == "link":
            return self._framed(data)
        if self.format == "json":
            return self._lined(data)
        if said := self._framed(data):
            self.format = "link"
            self._before = self._frames.rejected.total()
            return said
        if said := self._lined(data):
            self.format = "json"
        self._bad_lines = 0
        return said

    def _framed(self, data: bytes) -> list[Said]:
        said = []
        for frame in self._frames.feed(data):
            kind = _FRAMES.get(frame.type)
            if kind is not None:
                said.append(Said(kind, frame.payload, acknowledge=True))
        return said

    def _lined(self, data: bytes) -> list[Said]:
        said = []
        for line in self._lines.feed(data):
            if line is not None and _is_event(line):
                said.append(Said(Kind.EVENT, line.strip(), acknowledge=False))
            elif line is None or line.strip():
                self._bad_lines += 1
        return said


_FRAMES: dict[int, Kind] = {FrameType.EVENT: Kind.EVENT, FrameType.LOG: Kind.LOG, BOOT: Kind.BOOT}


def _is_event(line: bytes) -> bool:
    data = _json(line)
    return isinstance(data, dict) and data.get("schema") == EVENT_SCHEMA


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def read_event(raw: bytes, arrived: datetime) -> Event:
    """An event as a device said it. One without `ts`, of a board that has no clock, is of when it arrived. Raises
    DataError."""
    data = _json(raw)
    if isinstance(data, dict) and "ts" not in data:
        return parse_event(json.dumps({**data, "ts": rfc3339(arrived)}))
    try:
        return parse_event(raw)
    except RecursionError as error:
        raise DataError("is no event: nested too deeply") from error
