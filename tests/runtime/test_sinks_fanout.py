"""Several sinks at once: one that fails, blocks or breaks is no trouble to the others, and is accounted for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest

from edge_ad.errors import SinkError
from edge_ad.runtime.events import Event, Score, State
from edge_ad.runtime.sinks.fanout import FanOut

MakeEvent = Callable[..., Event]


class Recorder:
    """A sink that keeps what it gets, and can be told to misbehave."""

    def __init__(self, name: str = "good") -> None:
        self.name = name
        self.lost = 0
        self.seqs: list[int] = []
        self.shown: list[float] = []
        self.closed = False
        self.failures_to_come = 0
        self.error: Exception = SinkError("the line is dead", where=name)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def event(self, event: Event) -> None:
        self.entered.set()
        self.gate.wait()
        if self.failures_to_come:
            self.failures_to_come -= 1
            raise self.error
        self.seqs.append(event.seq)

    def state(self, state: State) -> None:
        self.shown.append(state.score)

    def score(self, score: Score) -> None:
        self.shown.append(score.score)

    def close(self) -> None:
        self.closed = True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def test_every_sink_gets_every_event_in_order(make_event: MakeEvent) -> None:
    sinks = [Recorder("a"), Recorder("b")]
    fan_out = FanOut(sinks)
    for seq in range(1, 101):
        fan_out.event(make_event(seq))
    reports = fan_out.close()
    assert all(sink.seqs == list(range(1, 101)) and sink.closed for sink in sinks)
    assert [(r.name, r.delivered, r.lost, r.failures, r.error, r.stuck) for r in reports] == [
        ("a", 100, 0, 0, None, False), ("b", 100, 0, 0, None, False),
    ]  # fmt: skip


def test_a_sink_that_blocks_for_good_delays_no_other_and_is_left_behind(
    make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, good = Recorder("stuck"), Recorder("good")
    stuck.gate.clear()
    fan_out = FanOut([stuck, good], drain_s=0.2, close_s=0.2)
    for seq in range(1, 51):
        fan_out.event(make_event(seq))
    wait_until(lambda: len(good.seqs) == 50)
    with caplog.at_level(logging.WARNING):
        left, fine = fan_out.close()
    stuck.gate.set()
    assert fine.delivered == 50 and good.closed and not fine.stuck
    assert left.stuck and left.delivered == 0 and left.undelivered == 50
    assert "stuck: 50 events were not delivered (it is stuck)" in caplog.messages


def test_a_failure_is_said_once_and_tried_again_until_it_works(
    make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    flaky, good = Recorder("flaky"), Recorder("good")
    flaky.failures_to_come = 4
    with caplog.at_level(logging.INFO):
        fan_out = FanOut([flaky, good], retry_s=(0.01, 0.02))
        for seq in range(1, 4):
            fan_out.event(make_event(seq))
        wait_until(lambda: flaky.seqs == [1, 2, 3])
        report, _ = fan_out.close()
    assert good.seqs == [1, 2, 3]
    assert (report.delivered, report.lost, report.failures) == (3, 0, 4)
    assert report.error == "flaky: the line is dead"
    assert caplog.messages == ["flaky: the line is dead; trying on", "flaky: works again"]


def test_a_sink_that_never_works_is_given_up_at_the_end_with_a_count(make_event: MakeEvent) -> None:
    dead = Recorder("dead")
    dead.failures_to_come = 10**9
    fan_out = FanOut([dead], retry_s=(60, 60))
    for seq in range(1, 4):
        fan_out.event(make_event(seq))
    wait_until(lambda: dead.failures_to_come < 10**9)
    (report,) = fan_out.close()  # does not sit out the pause of a minute
    assert (report.delivered, report.undelivered, report.stuck) == (0, 3, False)
    assert report.failures == 2 and dead.closed


def test_a_fault_inside_a_sink_is_a_failure_like_another(make_event: MakeEvent) -> None:
    broken, good = Recorder("broken"), Recorder("good")
    broken.failures_to_come, broken.error = 10**9, ZeroDivisionError("oops")
    fan_out = FanOut([broken, good], retry_s=(0.01, 0.01))
    fan_out.event(make_event(1))
    bad, fine = fan_out.close()
    assert fine.delivered == 1 and bad.undelivered == 1 and "ZeroDivisionError" in str(bad.error)


def test_a_full_queue_drops_the_oldest_and_counts_them(
    make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Recorder("slow")
    slow.gate.clear()
    fan_out = FanOut([slow], capacity=5)
    fan_out.event(make_event(1))
    assert slow.entered.wait(30)  # event 1 is under way, outside the queue
    for seq in range(2, 12):
        fan_out.event(make_event(seq))
    slow.gate.set()
    (report,) = fan_out.close()
    assert slow.seqs == [1, 7, 8, 9, 10, 11]
    assert (report.delivered, report.dropped, report.undelivered) == (6, 5, 0)
    assert caplog.messages[0] == "slow: too slow; the oldest events are dropped"


def test_a_sink_that_is_behind_shows_only_the_newest_state_and_score(make_event: MakeEvent) -> None:
    slow = Recorder()
    slow.gate.clear()
    fan_out = FanOut([slow])
    event = make_event(1)
    fan_out.event(event)
    assert slow.entered.wait(30)
    same = {"ts": event.ts, "stream": event.stream, "threshold": 0.5}
    for i in range(1, 6):
        fan_out.state(State(anomalous=True, score=i, bundle=event.bundle, **same))
        fan_out.score(Score(score=10 + i, **same))
    slow.gate.set()
    fan_out.close()
    assert slow.shown == [5, 15]


def test_events_that_a_sink_could_not_confirm_are_not_called_delivered(make_event: MakeEvent) -> None:
    unsure = Recorder()
    fan_out = FanOut([unsure])
    for seq in range(1, 6):
        fan_out.event(make_event(seq))
    unsure.lost = 2
    (report,) = fan_out.close()
    assert (report.delivered, report.undelivered) == (3, 2)
