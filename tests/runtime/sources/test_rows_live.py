"""Rows become windows or vectors, with their names and times; a gap is told once and nothing spans it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from row_sources import Reading, series_input, vector_input

from edge_ad.errors import DataError, SourceError
from edge_ad.runtime.series import Chunk
from edge_ad.runtime.sources.rows import LiveRows, Piece, open_rows

NAN = float("nan")


class Told:
    """A feed that says what a test tells it to, then ends or waits to be closed."""

    def __init__(self, *pieces: Piece, stays: bool = False) -> None:
        self.unreadable = 0
        self.closed = threading.Event()
        self._pieces, self._stays = pieces, stays

    def __iter__(self) -> Iterator[Piece]:
        yield from self._pieces
        if self._stays:
            self.closed.wait(30)

    def close(self) -> None:
        self.closed.set()


def piece(first: int, n: int, *, gap: str | None = None, stamps: bool = False, step: float = 0.1) -> Piece:
    """Rows whose first channel is their number, and arrival after it."""
    numbers = np.arange(first, first + n)
    values = np.stack([numbers, -numbers], 1).astype(np.float32)
    return Piece(
        Chunk(1000 + numbers * step if stamps else None, values, None, first + 1), 2000.0 + first, gap
    )


def rows_of(feed: Told, *, live: bool = True) -> LiveRows:
    return LiveRows("sensor", feed, series_input().window, live=live)


def test_windows_are_named_by_their_newest_row_and_have_its_time() -> None:
    source = rows_of(Told(piece(0, 5), piece(5, 2), stays=False))
    samples = list(source)
    assert [s.name for s in samples] == ["row#3", "row#5"]
    assert [s.data[:, 0].tolist() for s in samples] == [[0, 1, 2, 3], [2, 3, 4, 5]]
    assert [s.ts.timestamp() for s in samples] == [2000, 2005]  # when their newest row came
    stamped = list(rows_of(Told(piece(0, 6, stamps=True))))
    assert [s.ts.timestamp() for s in stamped] == pytest.approx([1000.3, 1000.5])
    assert source.acquired == 2 and source.dropped == 0 and source.unreadable == 0


def test_no_window_spans_a_gap_and_the_next_one_says_so(caplog: pytest.LogCaptureFixture) -> None:
    source = rows_of(Told(piece(0, 6), piece(9, 5, gap="missing rows"), piece(20, 4, gap="unreadable")))
    with caplog.at_level(logging.WARNING):
        samples = list(source)
    found = [(s.data[:, 0].tolist(), s.gap) for s in samples]
    assert found == [
        ([0, 1, 2, 3], False), ([2, 3, 4, 5], False), ([9, 10, 11, 12], True), ([20, 21, 22, 23], True),
    ]  # fmt: skip
    assert source.unreadable == 1  # the feed counts what was unreadable itself
    told = [r.getMessage() for r in caplog.records]
    assert told == ["sensor: gap at row 6: missing rows"]  # the next within a minute is only counted


def test_a_gap_that_the_stamps_show_as_well_is_one() -> None:
    source = rows_of(Told(piece(0, 6, stamps=True), piece(9, 6, stamps=True, gap="missing rows")))
    assert [s.gap for s in source] == [False, False, True, False] and source.unreadable == 1


def test_vectors_are_rows_and_one_that_is_no_number_is_left_out() -> None:
    chunk = Chunk(None, np.array([[1, 2], [NAN, 2], [3, 4]], np.float32), None, 1)
    source = LiveRows("sensor", Told(Piece(chunk, 5.0), Piece(chunk, 6.0, "missing rows")), None, live=True)
    samples = list(source)
    assert [(s.name, s.data.tolist(), s.gap) for s in samples] == [
        ("row#0", [1, 2], False), ("row#2", [3, 4], True), ("row#3", [1, 2], True), ("row#5", [3, 4], True),
    ]  # fmt: skip
    assert samples[0].data.shape == (2,) and source.unreadable == 3


def test_what_is_wrong_ends_a_stream_and_lets_a_live_one_be_opened_anew() -> None:
    back = [piece(5, 2, stamps=True), piece(0, 2, stamps=True)]
    with pytest.raises(DataError, match=r"sensor: line 1: goes back by 0.6 s in time"):
        list(rows_of(Told(*back), live=False))
    feed = Told(*back)
    with pytest.raises(SourceError, match=r"sensor: line 1: goes back by 0.6 s in time"):
        list(rows_of(feed, live=True))
    assert feed.closed.is_set()
    with pytest.raises(SourceError, match="has 50 rows a second, the detector was fitted at 10"):
        list(rows_of(Told(piece(0, 40, stamps=True, step=0.02))))


@pytest.mark.parametrize("stamp", [1e18, -1e18])
def test_a_time_beyond_all_calendars_is_an_error_and_no_crash(stamp: float) -> None:
    chunk = Chunk(stamp + np.arange(4) * 1e9, np.zeros((4, 2), np.float32), None, 1)
    source = LiveRows("sensor", Told(Piece(chunk, 0.0)), series_input(rate_hz=None).window, live=True)
    with pytest.raises(SourceError, match="are no time"):
        list(source)


def test_a_stream_that_never_holds_a_window_is_an_error() -> None:
    with pytest.raises(
        SourceError, match="ended before it gave a window without a gap; a window takes 4 rows"
    ):
        list(rows_of(Told(piece(0, 3)), live=False))


def test_closing_from_another_thread_ends_the_iteration() -> None:
    source = rows_of(Told(piece(0, 6), stays=True))
    reading = Reading(source).wait_for(2).close()
    assert reading.error is None and len(reading.samples) == 2


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("stdin:?fromat=csv", "stdin:.*unknown option 'fromat'; known: format, columns"),
        ("stdin:?format=xml", "option 'format': Input should be 'csv' or 'ndjson'"),
        ("lines:/dev/x?baud=fast", "option 'baud'"),
        ("lines:/dev/x?checksum=crc", "option 'checksum'"),
        ("lines:/dev/ttyNOPE9", "lines:/dev/ttyNOPE9: there is no such serial port; serial ports here: "),
        ("link:/dev/ttyNOPE9", "link:/dev/ttyNOPE9: there is no such serial port"),
        ("link:/dev/x?ask=perhaps", "option 'ask'"),
        ("rows:/nowhere", "/nowhere: cannot be opened: there is no such pipe or file; make a pipe"),
        ("rows:/", "is neither a pipe nor a file"),
        ("rows:/dev/null", "is neither a pipe nor a file; for a serial port: lines:/dev/null"),
        ("mqtt://host", "is no single topic; name one without wildcards"),
        ("mqtt://host/plant/+/rows", "is no single topic"),
        ("mqtt://host/plant/#", "is no MQTT address"),
        ("mqtt://host:nan/plant", "is no MQTT address"),
        ("mqtt://me:secret@127.0.0.1:1/plant", r"mqtt://127.0.0.1:1/plant: no broker can be reached"),
        ("mqtt://host/plant?qos=2", "unknown option 'qos'"),
        ("mqtt://me@host/plant?password_file=/nowhere", "the password cannot be read"),
        ("mqtts://host/plant?ca=/nowhere", "the certificates cannot be loaded"),
        ("nonsense:", "is no source of rows; try -, stdin:"),
    ],
)
def test_what_cannot_be_opened_is_named(url: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        open_rows(url, series_input(), stall_s=1)
    assert "secret" not in str(caught.value)


def test_images_are_not_made_of_rows() -> None:
    image = vector_input(3).model_copy(update={"modality": "image", "shape": (1, 3, 8, 8)})
    with pytest.raises(SourceError, match="gives rows of numbers, this bundle takes images"):
        open_rows("-", image, stall_s=1)
