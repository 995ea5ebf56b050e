"""Log lines: any parser of logfmt gets the values back, and nothing repeats without end."""

from __future__ import annotations

import io
import json
import logging
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.runtime.operations.logs import Logfmt, RateLimit, quoted, set_up_logging

PAIR = re.compile(r'(?P<key>\w+)=(?P<value>"(?:[^"\\]|\\.)*"|[^\s"=]+)(?: |$)')


def parsed(line: str) -> dict[str, str]:
    """A small parser of logfmt; fails on what it does not understand."""
    pairs, place = {}, 0
    while place < len(line):
        found = PAIR.match(line, place)
        assert found is not None, line[place:]
        value = found["value"]
        pairs[found["key"]] = json.loads(value) if value.startswith('"') else value
        place = found.end()
    return pairs


def record(message: str, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("edge_ad.x", logging.WARNING, __file__, 7, message, (), None)
    vars(made).update(extra)
    return made


@given(st.text(), st.text(), st.floats() | st.integers() | st.booleans())
def test_whatever_is_logged_is_one_line_and_comes_back(message: str, stream: str, value: object) -> None:
    line = Logfmt().format(record(message, stream=stream, value=value))
    assert len(line.splitlines()) == 1
    found = parsed(line)
    assert (found["msg"], found["stream"], found["value"]) == (message, stream, str(value))
    assert found["level"] == "warning" and re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["ts"]
    )


def test_a_line_reads_well() -> None:
    line = Logfmt().format(record("no frame for 10 s", stream="camera-0", created=0.0))
    assert line == 'ts=1970-01-01T00:00:00.000Z level=warning stream=camera-0 msg="no frame for 10 s"'
    assert quoted("plain") == "plain" and quoted("a=b") == '"a=b"' and quoted("") == '""'


def test_in_the_journal_the_priority_stands_in_place_of_the_time() -> None:
    assert Logfmt(journal=True).format(record("x")) == "<4>level=warning msg=x"


def test_an_exception_is_named_on_the_line_and_traced_only_where_that_is_wanted() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        made = record("failed", exc_info=(ValueError, error, error.__traceback__))
    short, long = parsed(Logfmt().format(made)), parsed(Logfmt(traceback=True).format(made))
    assert short["error"] == "ValueError('two\\nlines')" and "traceback" not in short
    assert "test_logs.py" in long["traceback"]


def test_what_repeats_comes_once_a_while_with_how_often_it_was_held_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("edge_ad.runtime.operations.logs.time.monotonic", lambda: now)
    limit = RateLimit(60)
    assert limit.filter(record("gone", stream="a"))
    assert not any(limit.filter(record("gone", stream="a")) for _ in range(5))
    assert limit.filter(record("gone", stream="b"))  # another stream's
    now += 61
    last = record("gone", stream="a")
    assert limit.filter(last) and vars(last)["repeated"] == 5


def test_the_whole_process_logs_so() -> None:
    before = logging.getLogger().handlers[:]
    stream = io.StringIO()
    try:
        set_up_logging(stream=stream)
        logging.getLogger("edge_ad.any").warning("%s is gone", "camera", extra={"stream": "cam0"})
    finally:
        logging.getLogger().handlers[:] = before
    found = parsed(stream.getvalue().strip())
    assert found["stream"] == "cam0" and found["msg"] == "camera is gone"
