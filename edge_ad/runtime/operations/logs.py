"""Log lines that a person can read and a machine can parse: logfmt, key=value.

ts=2026-11-23T15:04:05.678Z level=warning stream=camera-0 msg="no frame for 10 s"
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from datetime import datetime, timezone
from typing import Any, TextIO

from edge_ad.runtime.events import rfc3339

_PLAIN = re.compile(r"[^\s\"=\\\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_KNOWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # of syslog, sd-daemon(3)
REPEAT_S = 60.0
_REMEMBERED = 1000


def quoted(value: object) -> str:
    """A value of logfmt: as it is where that can be told from what follows, else a JSON string."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=True)


class Logfmt(logging.Formatter):
    """One line a record. What a caller gives as `extra` stands before the message.

    journal: without the time, which systemd's journal knows, and with the priority that it reads. traceback: also where
    an exception came from, on the same line.
    """

    def __init__(self, *, journal: bool = False, traceback: bool = False):
        super().__init__()
        self._journal = journal
        self._traceback = traceback

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        level = record.levelname.lower()
        pairs: list[tuple[str, Any]] = []
        if not self._journal:
            pairs.append(("ts", _rfc3339(record.created)))
        pairs.append(("level", level))
        pairs += sorted((key, value) for key, value in vars(record).items() if key not in _KNOWN)
        pairs.append(("msg", record.getMessage()))
        if record.exc_info and record.exc_info[1] is not None:
            pairs.append(("error", repr(record.exc_info[1])))
            if self._traceback:
                pairs.append(("traceback", self.formatException(record.exc_info)))
        line = " ".join(f"{key}={quoted(value)}" for key, value in pairs)
        return f"<{_PRIORITIES.get(level, 6)}>{line}" if self._journal else line


class RateLimit(logging.Filter):
    """Passes a message once a minute; the next one that passes says how often it was held back.

    A message is known by its place in the program and what it is about (stream, port): a year of a dead camera fills no
    disk.
    """

    def __init__(self, interval_s: float = REPEAT_S):
        super().__init__()
        self._interval_s = interval_s
        self._last: dict[tuple[Any, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it passes."""
        key = (
            record.name,
            record.lineno,
            *sorted((key, str(value)) for key, value in vars(record).items() if key not in _KNOWN),
            record.args and str(record.args)[:200],
        )
        passed_at, held = self._last.get(key, (-self._interval_s, 0))
        now = time.monotonic()
        if now - passed_at < self._interval_s:
            self._last[key] = passed_at, held + 1
            return False
        if held:
            record.repeated = held
        self._last.pop(key, None)
        self._last[key] = now, 0
        if len(self._last) > _REMEMBERED:
            del self._last[next(iter(self._last))]
        return True


def set_up_logging(
    *,
    level: int = logging.INFO,
    journal: bool | None = None,
    stream: TextIO | None = None,
    debug: bool = False,
) -> None:
    """Have all of this process log in logfmt to standard error. journal: by default, whether systemd's listens."""
    if journal is None:
        journal = _is_journal(stream or sys.stderr)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Logfmt(journal=journal, traceback=debug))
    handler.addFilter(RateLimit())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _is_journal(stream: TextIO) -> bool:
    """Whether the stream goes to the journal (JOURNAL_STREAM holds the device and inode of that, systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _rfc3339(seconds: float) -> str:
    return rfc3339(datetime.fromtimestamp(seconds, timezone.utc))
