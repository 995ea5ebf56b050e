"""What a sweep has measured so far: one line of JSON a form, on the disk before the next one counts.

A sweep that was killed goes on from its journal. A last line that was cut off is dropped; any other damage is an error,
since nothing but a hand makes it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edge_ad.compile.sweep.form import Outcome
from edge_ad.errors import SweepError

JOURNAL = "journal.jsonl"
_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)


class Journal:
    """An open journal; `outcomes` by key, the newest of each. Made by `journal`."""

    def __init__(self, handle: int, outcomes: dict[str, Outcome]):
        self._handle = handle
        self.outcomes = outcomes

    def add(self, outcome: Outcome) -> None:
        """Write one line; returns once it is on the disk."""
        line = outcome.model_dump_json().encode() + b"\n"
        while line:
            line = line[os.write(self._handle, line) :]
        os.fsync(self._handle)
        self.outcomes[outcome.key] = outcome


@contextmanager
def journal(folder: Path) -> Iterator[Journal]:
    """The journal of a sweep's folder, which is made where it is missing.

    Raises SweepError for a journal that is damaged elsewhere than at its end, that another sweep is writing, or that
    cannot be written.
    """
    path = folder / JOURNAL
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise SweepError(f"cannot be written ({error.strerror})", where=path) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SweepError(
                "another sweep is at work in this folder",
                where=folder,
                hint="wait for it, or choose another --out",
            ) from error
        with os.fdopen(os.dup(handle), "rb") as file:
            content = file.read()
        outcomes, whole = _read(content, path)
        os.ftruncate(handle, whole)
        os.lseek(handle, whole, os.SEEK_SET)
        yield Journal(handle, outcomes)
    finally:
        os.close(handle)


def _read(content: bytes, path: Path) -> tuple[dict[str, Outcome], int]:
    """Outcomes by key, and how many bytes of the journal are whole lines."""
    lines = content.split(b"\n")
    outcomes: dict[str, Outcome] = {}
    whole = 0
    for number, line in enumerate(lines[:-1], 1):  # what follows the last line end was cut off
        try:
            outcome = _OUTCOME.validate_python(json.loads(line))
        except (ValueError, ValidationError, RecursionError) as error:
            if number == len(lines) - 1:
                break
            raise SweepError(
                f"line {number} of the journal is damaged", where=path,
                hint="remove that line: its form is measured again",
            ) from error  # fmt: skip
        outcomes[outcome.key] = outcome
        whole += len(line) + 1
    return outcomes, whole
