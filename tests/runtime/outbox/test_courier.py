"""Couriers: every sink gets every record in order; one that fails, blocks or breaks is no trouble to the others."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kept_sink import Failing, Kept

from edge_ad.errors import SinkError
from edge_ad.runtime.events import Event, Record, Score, State
from edge_ad.runtime.notes import Availability, Health
from edge_ad.runtime.outbox.courier import SinkReport
from edge_ad.runtime.outbox.queue import Limits, Outbox
from edge_ad.runtime.reporting import Reporting
from edge_ad.runtime.sinks.base import DeviceInfo

MakeEvent = Callable[..., Event]
DEVICE = DeviceInfo("line3", "1", ())
QUICK = Limits(commit_delay_s=0.0, lazy_delay_s=0.0)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


class Setup:
    """An outbox, its sinks, and what became of them."""

    def __init__(
        self, *sinks: Kept, path: Path | None = None, backoff_s: tuple[float, float] = (0.01, 0.02)
    ) -> None:
        self.outbox = Outbox(path, [sink.name for sink in sinks], QUICK)
        self.reporting = Reporting(self.outbox, sinks, drain_s=2.0, close_s=0.5, backoff_s=backoff_s)
        self.reports: tuple[SinkReport, ...] = ()

    def events(self, *events: Event) -> None:
        self.outbox.append(events, stream="cam0")
        assert self.outbox.flush(30)


@contextmanager
def running(setup: Setup) -> Iterator[Setup]:
    setup.reporting.start(DEVICE)
    yield setup
    setup.reports = setup.reporting.close()
    setup.outbox.close()


def seqs(sink: Kept) -> list[int | None]:
    return [record.seq for record in sink.records]


def test_every_sink_gets_every_record_in_order(make_event: MakeEvent) -> None:
    sinks = [Kept("a"), Kept("b")]
    with running(Setup(*sinks)) as setup:
        for _ in range(20):
            setup.events(*[make_event()] * 50)
    assert all(seqs(sink) == list(range(1, 1001)) and sink.closed for sink in sinks)
    assert [(r.delivered, r.waiting, r.lost, r.failures, r.stuck) for r in setup.reports] == [
        (1000, 0, 0, 0, False)
    ] * 2


def test_what_comes_late_is_called_historical_and_only_that(tmp_path: Path, make_event: MakeEvent) -> None:
    sink = Failing()
    setup = Setup(sink, path=tmp_path / "o.db")
    sink.broken = True
    with running(setup):
        setup.events(make_event(), make_event())
        wait_until(lambda: setup.reporting.reports()[0].failures)
        sink.broken = False
        wait_until(lambda: len(sink.events) == 2)
        setup.events(make_event())
    assert [(e.seq, e.historical) for e in sink.events] == [(1, True), (2, True), (3, False)]


def test_what_was_not_delivered_comes_after_a_restart(tmp_path: Path, make_event: MakeEvent) -> None:
    broken, good = Failing("broken"), Kept("good")
    broken.broken = True
    with running(Setup(broken, good, path=tmp_path / "o.db")) as setup:
        setup.events(make_event(), make_event())
        wait_until(lambda: len(good.events) == 2)
    assert [(r.name, r.delivered, r.waiting, r.lost) for r in setup.reports] == [
        ("broken", 0, 2, 0), ("good", 2, 0, 0),
    ]  # fmt: skip
    mended, good = Kept("broken"), Kept("good")
    with running(Setup(mended, good, path=tmp_path / "o.db")) as setup:
        wait_until(lambda: len(mended.events) == 2)
    assert seqs(mended) == [1, 2] and all(event.historical for event in mended.events) and good.events == []


def test_a_memory_outbox_needs_sinks_that_work_at_the_start() -> None:
    broken, good = Failing("broken"), Kept("good")
    broken.broken = True
    setup = Setup(good, broken)
    with pytest.raises(SinkError, match="broken: is broken"):
        setup.reporting.start(DEVICE)
    assert broken.closed and good.closed
    setup.outbox.close()


def test_a_sink_that_blocks_for_good_delays_no_other_and_is_left_behind(
    make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    class Blocking(Kept):
        def _write(self, record: Record) -> None:
            release.wait()

    good = Kept("good")
    with caplog.at_level(logging.WARNING), running(Setup(Blocking("stuck"), good)) as setup:
        setup.events(*[make_event()] * 50)
        wait_until(lambda: len(good.events) == 50)
    release.set()
    left, fine = setup.reports
    assert fine.delivered == 50 and good.closed and not fine.stuck
    assert left.stuck and (left.delivered, left.waiting, left.lost) == (0, 50, 50)
    assert "stuck: 50 records were not delivered (it is stuck)" in caplog.messages


def test_a_failure_is_said_once_and_tried_again_until_it_works(
    make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    flaky, good = Failing("flaky"), Kept("good")
    with caplog.at_level(logging.INFO), running(Setup(flaky, good)) as setup:
        flaky.broken = True
        setup.events(*[make_event()] * 3)
        wait_until(lambda: setup.reporting.reports()[0].failures >= 4)
        flaky.broken = False
        wait_until(lambda: seqs(flaky) == [1, 2, 3])
    assert seqs(good) == [1, 2, 3] and flaky.connections >= 2
    report = setup.reports[0]
    assert (report.delivered, report.lost, report.error) == (3, 0, "flaky: is broken")
    assert caplog.messages == ["flaky: is broken; trying on", "flaky: works again"]


def test_a_fault_inside_a_sink_is_a_failure_like_another(make_event: MakeEvent) -> None:
    class Faulty(Kept):
        def _write(self, record: Record) -> None:
            raise ZeroDivisionError("oops")

    with running(Setup(Faulty("bad"), Kept("good"))) as setup:
        setup.events(make_event())
    bad, fine = setup.reports
    assert fine.delivered == 1 and bad.lost == 1 and "ZeroDivisionError" in str(bad.error)


class Unsure(Kept):
    """Confirms only what it is told to, one at a time in flight."""

    window = 3
    confirm_timeout_s = 0.05

    def __init__(self) -> None:
        super().__init__("unsure")
        self.may = 0

    def confirmed(self) -> list[int]:
        done = [seq for seq in self._written if seq <= self.may]
        self._written = [seq for seq in self._written if seq > self.may]
        return done


def test_what_is_not_confirmed_in_time_is_sent_again_in_order_and_nothing_overtakes_it(
    make_event: MakeEvent,
) -> None:
    sink = Unsure()
    with running(Setup(sink)) as setup:
        setup.events(*[make_event()] * 5)
        wait_until(lambda: len(sink.events) >= 9)
        assert seqs(sink)[:9] == [1, 2, 3] * 3  # the window is never exceeded
        assert [event.historical for event in sink.events[:6]] == [False] * 3 + [True] * 3
        sink.may = 2
        wait_until(lambda: 5 in seqs(sink))
        sink.may = 5
        wait_until(lambda: setup.outbox.backlog("unsure") == 0)
    order = list(dict.fromkeys(seqs(sink)))
    assert order == [1, 2, 3, 4, 5] and setup.reports[0].delivered == 5


def test_after_a_connection_that_broke_the_newest_notes_are_shown_again_but_no_old_score(
    make_event: MakeEvent,
) -> None:
    sink = Failing()
    ts, stream = make_event().ts, "cam0"
    state = State(
        ts=ts, stream=stream, anomalous=True, verdict="anomalous", score=1, threshold=0.5, bundle="ab" * 32
    )
    health = Health(
        ts=ts, stream=stream, online=True, frames=1, anomalous=0, events=0, dropped=0, unreadable=0
    )
    gone = Availability(ts=ts, stream=stream, online=False, reason="unplugged")
    with running(Setup(sink)) as setup:
        for note in (state, health, gone, Score(ts=ts, stream=stream, score=1, threshold=0.5)):
            setup.reporting.note(note)
        wait_until(lambda: len(sink.notes) == 4)
        sink.broken = True
        setup.events(make_event())
        wait_until(lambda: setup.reporting.reports()[0].failures)
        sink.notes.clear()
        sink.broken = False
        wait_until(lambda: len(sink.notes) == 3)
    assert (sink.states, sink.health, sink.availability, sink.scores) == ([state], [health], [gone], [])


def test_a_sink_that_is_behind_shows_only_the_newest_note(make_event: MakeEvent) -> None:
    entered, gate = threading.Event(), threading.Event()

    class Slow(Kept):
        def _write(self, record: Record) -> None:
            super()._write(record)
            entered.set()
            gate.wait()

    sink = Slow()
    with running(Setup(sink)) as setup:
        setup.events(make_event())
        assert entered.wait(30)
        for i in range(1, 6):
            setup.reporting.note(Score(ts=make_event().ts, stream="cam0", score=i, threshold=0.5))
        gate.set()
    assert [note.score for note in sink.scores] == [5]
