"""JSON lines: on standard output or appended to a file, which may be rotated."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from edge_ad.bundle.atomic import sync_folder
from edge_ad.errors import SinkError
from edge_ad.runtime.events import Record
from edge_ad.runtime.sinks.base import PlainSink
from edge_ad.runtime.sinks.options import SinkOptions, read_options

_TAIL_BYTES = 1 << 18  # of a file, in which records are looked for that come a second time


class StdoutSink(PlainSink):
    """One line of JSON a record on standard output, flushed."""

    def __init__(self) -> None:
        super().__init__("stdout")
        self._broken = False

    def _write(self, record: Record) -> None:
        """Print the record. Raises SinkError when nobody reads standard output any more."""
        try:
            if not self._broken:
                sys.stdout.write(record.to_json() + "\n")
                sys.stdout.flush()
                return
        except (OSError, ValueError):  # ValueError: closed
            self._broken = True
            _discard_stdout()
        raise SinkError("nobody reads standard output any more", where=self.name)


def _discard_stdout() -> None:
    """Point standard output nowhere: Python would fail once more, loudly, when it flushes it at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


class JsonlOptions(SinkOptions):
    """max_mb: the file is rotated to FILE.1, FILE.2, … before it grows beyond that; never without. keep: how many of
    those stay. compress: with gzip, as FILE.1.gz, …"""

    max_mb: Annotated[float, Field(gt=0)] | None = None
    keep: Annotated[int, Field(ge=1, le=1000)] = 8
    compress: bool = False


class JsonlSink(PlainSink):
    """One line of JSON a record, appended to a file; confirmed once it is on the disk.

    A record that is among the last lines already (it was written, and the process killed before it could confirm that)
    is not written again. A file that somebody else has moved away is made anew.
    """

    def __init__(self, path: Path, options: JsonlOptions | None = None):
        """Raises SinkError when the file cannot be opened."""
        super().__init__(f"jsonl:{path}")
        self._path = path
        self._options = options or JsonlOptions()
        self._file: int | None = None
        self._tail: set[str] = set()
        self._open()

    def connect(self) -> None:
        """Open the file, if it is not. Raises SinkError."""
        super().connect()
        self._open()

    def close(self) -> None:
        """Have the file on the disk, and close it."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._file)
            self._shut()

    def _write(self, record: Record) -> None:
        """Append the record. Raises SinkError, e.g. on a full disk; no part of the line then stays."""
        line = record.to_json()
        if self._tail:
            if _identity(line) in self._tail:
                return
            if not record.historical:  # from here on nothing comes a second time
                self._tail.clear()
        raw = line.encode() + b"\n"
        if self._is_moved():
            self._shut()
        file = self._open()
        limit = self._options.max_mb
        if limit is not None and 0 < os.fstat(file).st_size > limit * (1 << 20) - len(raw):
            file = self._rotate(file)
        self._append(file, raw)

    def _flush(self) -> None:
        if self._file is not None:
            try:
                os.fsync(self._file)
            except OSError as error:
                raise SinkError(
                    f"cannot be synced to the disk ({error.strerror})", where=self.name
                ) from error

    def _open(self) -> int:
        if self._file is not None:
            return self._file
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            self._file = os.open(self._path, flags, 0o644)
        except OSError as error:
            folder = self._path.parent
            hint = None if folder.is_dir() else f"create the folder first: mkdir -p {folder}"
            raise SinkError(f"cannot be opened ({error.strerror})", where=self.name, hint=hint) from error
        size = os.fstat(self._file).st_size
        tail = os.pread(self._file, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        if tail and not tail.endswith(b"\n"):  # a power cut left a line unfinished: it spoils none of ours
            self._append(self._file, b"\n")
        self._tail = {_identity(line) for line in tail.decode("utf-8", "replace").splitlines()}
        return self._file

    def _append(self, file: int, raw: bytes) -> None:
        size = os.fstat(file).st_size
        try:
            written = os.write(file, raw)
            while written < len(raw):
                written += os.write(file, raw[written:])
        except OSError as error:
            os.ftruncate(file, size)
            raise SinkError(f"cannot be written ({error.strerror})", where=self.name) from error

    def _is_moved(self) -> bool:
        """Whether the name is another file's by now, or nobody's."""
        if self._file is None:
            return False
        try:
            return not os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return True

    def _rotate(self, file: int) -> int:
        """Move the file away, and those before it one further; the new one."""
        try:
            os.fsync(file)
            self._shut()
            suffix = ".gz" if self._options.compress else ""
            places = [
                self._path.with_name(f"{self._path.name}.{i}{suffix}")
                for i in range(1, self._options.keep + 1)
            ]
            for older, newer in zip(reversed(places), [*reversed(places[:-1]), None], strict=True):
                if newer is not None and newer.exists():
                    newer.replace(older)
            moved = self._path.with_name(self._path.name + ".1")
            self._path.replace(moved)
            if self._options.compress:
                _compress(moved, places[0])
            sync_folder(self._path.parent)
        except OSError as error:
            raise SinkError(f"cannot be rotated ({error.strerror})", where=self.name) from error
        return self._open()

    def _shut(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _compress(source: Path, target: Path) -> None:
    temporary = target.with_name(target.name + ".part")
    with source.open("rb") as plain, gzip.open(temporary, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    temporary.replace(target)
    source.unlink()


def _identity(line: str) -> str:
    """A record's line, whether it comes for the first time or again."""
    return line.replace('"historical":true', '"historical":false')


def open_jsonl(url: str, options: Mapping[str, Any] | None = None) -> JsonlSink:
    """A sink for `jsonl:PATH[?option=value]`. Raises SinkError."""
    text = url.partition(":")[2]
    path, mark, query = text.rpartition("?")
    if not mark:
        path, query = text, ""
    if not path:
        raise SinkError("names no file", where=url, hint="jsonl:events.jsonl")
    return JsonlSink(Path(path), read_options(JsonlOptions, query, options, where=f"jsonl:{path}"))
