"""Rows from standard input and from named pipes: nothing is dropped, who writes is held back."""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_ad.errors import DataError, SourceError
from edge_ad.runtime.sources.rows.live import MISSING, Piece
from edge_ad.runtime.sources.rows.options import TextOptions
from edge_ad.runtime.sources.rows.reading import FileReader
from edge_ad.runtime.sources.rows.text import Gathering, Lines, RowParser

log = logging.getLogger(__name__)


class TextStream:
    """The rows of a stream of text, up to its end. A line that cannot be right is a DataError that names it."""

    def __init__(self, reader: FileReader, parser: RowParser, *, where: str):
        self.unreadable = 0
        self._reader = reader
        self._gathering = Gathering(parser)
        self._where = where
        self._line = 0

    def __iter__(self) -> Iterator[Piece]:
        lines = Lines()
        while (data := self._reader.read()) is not None:
            for raw in lines.feed(data):
                self._take(raw)
            yield from self._gathering.take(time.time())
        if lines.rest.strip() and not self._reader.closed:
            self._take_last(lines.rest)
            yield from self._gathering.take(time.time())

    def close(self) -> None:
        """Stop reading, from any thread."""
        self._reader.close()

    def _take(self, raw: bytes | None) -> None:
        self._line += 1
        if raw is None:
            raise DataError(f"line {self._line}: is far too long", where=self._where)
        try:
            text = raw.decode("utf-8-sig" if self._line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"line {self._line}: is no text ({error.reason})", where=self._where) from error
        if not self._gathering.add(text, self._line) and text.strip():
            self._gathering.miss(MISSING)  # names in the middle: another series begins

    def _take_last(self, raw: bytes) -> None:
        """A last line without its end: whoever wrote it may have been cut short, so numbers are not trusted; a JSON
        object that is closed is whole."""
        if raw.rstrip().endswith(b"}"):
            self._take(raw)
            return
        self.unreadable += 1
        log.warning("%s: line %d has no end, it is left out", self._where, self._line + 1)


def open_stdin(
    channels: Sequence[str] | None, n: int, options: TextOptions | None = None, *, file: int = 0
) -> TextStream:
    """Rows of text on standard input, of the `n` channels of these names (None: any). file: its descriptor, which stays
    open. Raises SourceError."""
    try:
        os.fstat(file)
    except OSError as error:
        raise SourceError("is closed", where="stdin", hint="pipe rows into it") from error
    return _open(FileReader(file, "stdin", owned=False), channels, n, options, "stdin")


def open_pipe(
    path: Path, channels: Sequence[str] | None, n: int, options: TextOptions | None = None
) -> TextStream:
    """Rows of text from a named pipe (until whoever writes closes it) or a file. Raises SourceError."""
    try:
        # A pipe that nobody writes to yet would block here; a read waits for the writer as well, and can be ended.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        what = "there is no such pipe or file" if error.errno == errno.ENOENT else f"({error.strerror})"
        raise SourceError(f"cannot be opened: {what}", where=path, hint="make a pipe: mkfifo") from error
    kind = os.fstat(file).st_mode
    if not (stat.S_ISFIFO(kind) or stat.S_ISREG(kind)):
        os.close(file)
        hint = "name a file in it" if stat.S_ISDIR(kind) else f"for a serial port: lines:{path}"
        raise SourceError("is neither a pipe nor a file", where=path, hint=hint)
    return _open(FileReader(file, str(path)), channels, n, options, str(path))


def _open(
    reader: FileReader, channels: Sequence[str] | None, n: int, options: TextOptions | None, where: str
) -> TextStream:
    options = options or TextOptions()
    try:
        parser = RowParser(channels, n, where=where, format=options.format, columns=options.columns)
    except DataError:
        reader.close()
        raise
    return TextStream(reader, parser, where=where)
