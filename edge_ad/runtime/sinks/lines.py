"""JSON lines: on standard output or appended to a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edge_ad.errors import SinkError
from edge_ad.runtime.events import Record
from edge_ad.runtime.sinks.base import PlainSink


class StdoutSink(PlainSink):
    """One line of JSON an event on standard output, flushed."""

    def __init__(self) -> None:
        super().__init__("stdout")
        self._broken = False

    def _write(self, event: Record) -> None:
        """Print the event. Raises SinkError when nobody reads standard output any more."""
        try:
            if not self._broken:
                sys.stdout.write(event.to_json() + "\n")
                sys.stdout.flush()
                return
        except (OSError, ValueError):  # ValueError: closed
            self._broken = True
            _discard_stdout()
        raise SinkError("nobody reads standard output any more", where=self.name)

    def close(self) -> None:
        """Nothing is held."""


def _discard_stdout() -> None:
    """Point standard output nowhere: Python would fail once more, loudly, when it flushes it at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


class JsonlSink(PlainSink):
    """One line of JSON an event, appended to a file, none held back in this process; fsynced at close."""

    def __init__(self, path: Path):
        """Raises SinkError when the file cannot be opened."""
        super().__init__(f"jsonl:{path}")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            folder = path.parent
            hint = None if folder.is_dir() else f"create the folder first: mkdir -p {folder}"
            raise SinkError(f"cannot be opened ({error.strerror})", where=self.name, hint=hint) from error
        self._end_torn_line()

    def _write(self, event: Record) -> None:
        """Append the event. Raises SinkError, e.g. on a full disk; no part of the line then stays."""
        self._append(event.to_json().encode() + b"\n")

    def _flush(self) -> None:
        try:
            os.fsync(self._file)
        except OSError as error:
            raise SinkError(f"cannot be synced to the disk ({error.strerror})", where=self.name) from error

    def close(self) -> None:
        os.close(self._file)

    def _append(self, line: bytes) -> None:
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            os.ftruncate(self._file, size)
            raise SinkError(f"cannot be written ({error.strerror})", where=self.name) from error

    def _end_torn_line(self) -> None:
        """A line that a power cut left unfinished is ended, so that it spoils none of ours."""
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            self._append(b"\n")


def open_jsonl(url, options):
    return JsonlSink(Path(url.partition(":")[2]))
