"""Rows of text on a serial line: what cannot be read is counted and leaves a gap."""

from __future__ import annotations

import re
import termios
import time
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import xor

import serial

from edge_ad.errors import DataError, PortError, SourceError
from edge_ad.firmware_bridge.ports import open_port
from edge_ad.runtime.sources.rows.live import MISSING, UNREADABLE, Piece
from edge_ad.runtime.sources.rows.options import LinesOptions
from edge_ad.runtime.sources.rows.reading import PortReader
from edge_ad.runtime.sources.rows.text import Gathering, Lines, RowParser

_CHECKSUM = re.compile(rb"(.*)\*([0-9A-Fa-f]{2})", re.DOTALL)


class SerialLines:
    """The rows on a serial line. Lines are whole from the second on: reading may begin in the middle of the first."""

    def __init__(
        self, reader: PortReader, parser: RowParser, *, where: str, stall_s: float, checksum: bool = False
    ):
        """checksum: whether every line has to have one."""
        self.unreadable = 0
        self._reader = reader
        self._parser = parser
        self._gathering = Gathering(parser)
        self._where = where
        self._stall_s = stall_s
        self._checksum = checksum
        self._line = 0
        self._bytes = 0

    def __iter__(self) -> Iterator[Piece]:
        lines = Lines()
        deadline = time.monotonic() + self._stall_s
        while (data := self._reader.read(deadline - time.monotonic())) is not None:
            arrival = time.time()
            self._bytes += len(data)
            for raw in lines.feed(data):
                self._take(raw)
            if pieces := self._gathering.take(arrival):
                deadline = time.monotonic() + self._stall_s
                yield from pieces
            elif time.monotonic() >= deadline:
                raise self._stalled()

    def close(self) -> None:
        """Give the port back, from any thread."""
        self._reader.close()

    def _take(self, raw: bytes | None) -> None:
        self._line += 1
        try:
            text = self._text(raw)
            if self._line == 1 and not text.lstrip().startswith("{") and not self._parser.is_header(text):
                return
            row = self._gathering.add(text, self._line)
            if not row and text.strip():  # names come when a device has started anew
                self._gathering.miss(MISSING)
        except (DataError, ValueError):
            if self._line > 1:
                self.unreadable += 1
                self._gathering.miss(UNREADABLE)

    def _text(self, raw: bytes | None) -> str:
        """A line less its checksum. Raises ValueError for a checksum that is wrong or missing, or no text."""
        if raw is None:
            raise ValueError("is too long")
        raw = raw.strip()
        if match := _CHECKSUM.fullmatch(raw):
            raw = match[1].removeprefix(b"$")
            if reduce(xor, raw, 0) != int(match[2], 16):
                raise ValueError("has another checksum")
        elif self._checksum and raw:
            raise ValueError("has no checksum")
        return raw.decode()

    def _stalled(self) -> SourceError:
        heard = self._bytes and self.unreadable
        return SourceError(
            f"no row for {self._stall_s:g} s" + (f", {self.unreadable} lines were none" if heard else ""),
            where=self._where,
            hint="check the baud rate and what the device sends"
            if heard
            else "check the device and its cable",
        )


def open_lines(
    port: str, channels: Sequence[str] | None, n: int, options: LinesOptions | None = None, *, stall_s: float
) -> SerialLines:
    """Rows of text on a serial port, of the `n` channels of these names (None: any).

    port: a device file or pyserial URL. stall_s: longest time without a row. Raises SourceError when the port cannot be
    opened.
    """
    options = options or LinesOptions()
    where = f"lines:{port}"
    parser = RowParser(channels, n, where=where, format=options.format, columns=options.columns)
    reader = open_reader(port, options.baud, where)
    return SerialLines(reader, parser, where=where, stall_s=stall_s, checksum=options.checksum is not None)


def open_reader(port: str, baud: int, where: str, *, fresh: bool = True) -> PortReader:
    """An open serial port; fresh: less what had come before. Raises SourceError."""
    try:
        opened = open_port(port, baud, read_timeout_s=0.0, write_timeout_s=0.5)
    except PortError as error:
        raise SourceError(error.what, where=where, hint=error.hint) from error
    try:
        if fresh:
            opened.reset_input_buffer()
    except (serial.SerialException, OSError, termios.error) as error:  # termios.error is no OSError
        opened.close()
        raise SourceError(f"the line was cut ({error})", where=where, hint="check plug and cable") from error
    return PortReader(opened, where)
