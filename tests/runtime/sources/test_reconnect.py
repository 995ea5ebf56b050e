"""A source that goes away is opened again: told once when it goes and once when it is back, the gap marked."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

import numpy as np
import pytest
from mjpeg_camera import MjpegCamera, number_of

from edge_ad.errors import DataError, EdgeAdError, MissingDependencyError, SourceError, UsageError
from edge_ad.runtime.sample import Position, Sample
from edge_ad.runtime.sources import open_source
from edge_ad.runtime.sources.reconnect import Reconnecting

TS = datetime(2025, 11, 23, tzinfo=timezone.utc)
REFUSED = SourceError("cannot be opened", where="sensor")


class Attempt:
    """Gives the samples of these numbers, then fails with `error`, ends, or waits until it is closed."""

    name = "sensor"
    live = True

    def __init__(self, numbers: range, error: EdgeAdError | None = None, *, waits: bool = False) -> None:
        self.acquired = self.dropped = self.unreadable = 0
        self.numbers, self.error, self.waits = numbers, error, waits
        self.closed = threading.Event()
        self.waiting = threading.Event()

    def __iter__(self) -> Iterator[Sample]:
        for number in self.numbers:
            self.acquired += 2
            self.dropped += 1
            yield Sample(np.zeros(1), str(number), TS)
            if self.closed.is_set():
                return
        self.unreadable += 1
        if self.waits:
            self.waiting.set()
            assert self.closed.wait(30)
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed.set()


class Clock:
    """A clock that only moves while somebody waits, or is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


class Told(list[tuple[bool, str]]):
    def __call__(self, online: bool, reason: str) -> None:
        self.append((online, reason))


def reconnecting(
    outcomes: list[Attempt | EdgeAdError], *, live: bool = True, first: Attempt | None = None
) -> tuple[Reconnecting, Clock, Told]:
    """What opens to the outcomes one after the other, on a clock of its own."""
    todo = iter(outcomes)

    def open_() -> Attempt:
        outcome = next(todo)
        if isinstance(outcome, EdgeAdError):
            raise outcome
        return outcome

    clock, told = Clock(), Told()
    source = Reconnecting("sensor", open_, live=live, first=first, wait=clock.wait, clock=clock)
    source.on_availability = told
    return source, clock, told


def take(source: Reconnecting, count: int) -> list[tuple[str, bool]]:
    """Name and gap of so many samples; then the source is closed."""
    found = []
    for sample in source:
        found.append((sample.name, sample.gap))
        if len(found) == count:
            source.close()
    return found


def test_loss_and_return_are_told_once_and_the_first_sample_behind_is_marked() -> None:
    attempts = [
        Attempt(range(2), SourceError("no frame for 10 s", where="sensor", hint="check the cable")),
        REFUSED, REFUSED,
        Attempt(range(2, 4)),  # ends, as a live stream should not
        Attempt(range(0), DataError("line 7: is no row", where="/dev/tty")),
        Attempt(range(4, 6)),
    ]  # fmt: skip
    source, _, told = reconnecting(attempts)
    expected = [("0", False), ("1", False), ("2", True), ("3", False), ("4", True), ("5", False)]
    assert take(source, 6) == expected
    assert told == [(False, "no frame for 10 s"), (True, ""), (False, "the stream ended"), (True, "")]
    assert (source.acquired, source.dropped, source.unreadable) == (12, 6, 3)
    assert all(a.closed.is_set() for a in attempts if isinstance(a, Attempt))


def test_counters_go_on_while_an_attempt_runs() -> None:
    source, _, _ = reconnecting([Attempt(range(2), REFUSED), Attempt(range(3))])
    counts = []
    for sample in source:
        counts.append((sample.name, source.acquired, source.dropped, source.unreadable))
        if len(counts) == 4:
            source.close()
    assert counts == [("0", 2, 1, 0), ("1", 4, 2, 0), ("0", 6, 3, 1), ("1", 8, 4, 1)]


def test_a_source_that_was_never_there_is_told_to_be_away() -> None:
    source, clock, told = reconnecting([REFUSED, REFUSED, Attempt(range(1))])
    assert take(source, 1) == [("0", True)]
    assert told == [(False, "cannot be opened"), (True, "")] and clock.waits == [1, 2]


def test_an_attempt_that_is_open_already_is_the_first() -> None:
    source, clock, told = reconnecting([Attempt(range(7, 8))], first=Attempt(range(1), REFUSED))
    assert take(source, 2) == [("0", False), ("7", True)]
    assert clock.waits == [1] and len(told) == 2


def test_pauses_double_up_to_the_longest_and_begin_anew_when_it_has_worked() -> None:
    source, clock, _ = reconnecting([*[REFUSED] * 8, Attempt(range(2), REFUSED), REFUSED, Attempt(range(1))])
    for count, _ in enumerate(source):
        if count == 0:
            clock.now += 3600  # then it fails
        if count == 2:
            source.close()
    assert clock.waits == [1, 2, 4, 8, 16, 32, 60, 60, 1, 2]


def test_a_source_that_dies_with_its_first_sample_is_not_tried_ever_faster() -> None:
    source, clock, _ = reconnecting([Attempt(range(1), REFUSED) for _ in range(6)])
    take(source, 6)
    assert clock.waits == [1, 2, 4, 8, 16]


def test_the_log_has_a_line_on_the_loss_one_on_the_return_and_few_between(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, _, _ = reconnecting([*[REFUSED] * 200, Attempt(range(1))])
    with caplog.at_level(logging.INFO):
        take(source, 1)
    lines = caplog.messages
    assert lines[0].startswith("sensor: gone: cannot be opened")
    assert lines[-1].startswith("sensor: back after 117")  # 63 s of growing pauses, then 60 s each
    assert 5 <= len(lines) <= 12 and all("still gone after" in line for line in lines[1:-1])


@pytest.mark.parametrize("error", [MissingDependencyError("needs OpenCV"), UsageError("no such option")])
def test_what_no_retry_can_cure_is_raised(error: EdgeAdError) -> None:
    source, clock, _ = reconnecting([Attempt(range(1), REFUSED), error])
    with pytest.raises(type(error), match=str(error)):
        list(source)
    assert clock.waits == [1]
    inner = Attempt(range(1), error)
    source, clock, _ = reconnecting([inner])
    with pytest.raises(type(error)):
        list(source)
    assert inner.closed.is_set() and clock.waits == []


def test_a_replay_that_comes_to_its_end_is_over() -> None:
    source, clock, told = reconnecting([Attempt(range(1), REFUSED), Attempt(range(1, 3))], live=False)
    assert [s.name for s in source] == ["0", "1", "2"]
    assert clock.waits == [1] and told == [(False, "cannot be opened"), (True, "")]


class Wound(Attempt):
    """Counts from where it is wound to; it has as many samples as it says."""

    def __init__(self, count: int, error: EdgeAdError | None = REFUSED) -> None:
        super().__init__(range(count), error)
        self.wound_to: list[Position] = []

    def resume(self, position: Position) -> None:
        if position["row"] == 99:
            raise SourceError("the file is gone")
        self.wound_to.append(position)
        begin = int(position["row"]) + 1
        self.numbers = range(begin, begin + len(self.numbers))

    def __iter__(self) -> Iterator[Sample]:
        for sample in super().__iter__():
            yield Sample(sample.data, sample.name, sample.ts, {"row": int(sample.name)})


def test_sources_with_positions_go_on_behind_the_last_sample() -> None:
    attempts = [Wound(3), Wound(0), Wound(2, None)]
    source, _, _ = reconnecting(attempts, live=False)  # type: ignore[arg-type]
    source.resume({"row": 4})
    assert [(s.name, s.gap) for s in source] == [
        ("5", False),
        ("6", False),
        ("7", False),
        ("8", True),
        ("9", False),
    ]
    assert [a.wound_to for a in attempts] == [[{"row": 4}], [{"row": 7}], [{"row": 7}]]


def test_a_position_that_the_open_source_refuses_is_an_error_at_once_and_later_one_more_failure() -> None:
    source, _, _ = reconnecting([], live=False, first=Wound(1))
    with pytest.raises(SourceError, match="the file is gone"):
        source.resume({"row": 99})
    refusing = Wound(1)
    source, _, told = reconnecting([refusing, Attempt(range(1))], live=False)
    source.resume({"row": 99})
    assert [s.name for s in source] == ["0"] and refusing.closed.is_set()
    assert told == [(False, "the file is gone"), (True, "")]


# Closing


def run(source: Reconnecting) -> tuple[threading.Thread, list[str]]:
    """Iterate in a thread, as an acquiring stage does."""
    names: list[str] = []
    thread = threading.Thread(target=lambda: names.extend(s.name for s in source), daemon=True)
    thread.start()
    return thread, names


def test_closing_ends_an_attempt_that_waits() -> None:
    inner = Attempt(range(1), waits=True)
    source, _, told = reconnecting([inner])
    thread, names = run(source)
    assert inner.waiting.wait(30)
    source.close()
    thread.join(30)
    assert not thread.is_alive() and names == ["0"] and inner.closed.is_set() and told == []


def test_closing_ends_a_pause() -> None:
    asked = threading.Event()

    def open_() -> Attempt:
        asked.set()
        raise REFUSED

    source = Reconnecting("sensor", open_, live=True, backoff_s=(3600, 3600))
    away = threading.Event()
    source.on_availability = lambda online, reason: away.set()
    thread, _ = run(source)
    assert asked.wait(30) and away.wait(30)
    source.close()
    thread.join(30)
    assert not thread.is_alive()


def test_closing_does_not_wait_for_an_attempt_that_is_being_opened_and_leaves_none_open() -> None:
    opening, go_on, inner = threading.Event(), threading.Event(), Attempt(range(1))

    def open_() -> Attempt:
        opening.set()
        assert go_on.wait(30)
        return inner

    source = Reconnecting("sensor", open_, live=True)
    thread, names = run(source)
    assert opening.wait(30)
    source.close()
    thread.join(30)
    assert not thread.is_alive() and names == [] and not inner.closed.is_set()
    go_on.set()
    assert inner.closed.wait(30)


def test_closing_before_the_iteration_closes_what_is_open() -> None:
    inner = Attempt(range(3))
    source, _, _ = reconnecting([], first=inner)
    source.close()
    assert inner.closed.is_set() and list(source) == []


def test_leaving_the_iteration_closes_what_is_open() -> None:
    inner = Attempt(range(3))
    source, _, _ = reconnecting([inner])
    for _ in source:
        break
    assert inner.closed.is_set()


# A real camera


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["dies", "falls silent"])
def test_a_camera_that_goes_away_and_comes_back(how: str) -> None:
    camera = MjpegCamera()
    told = Told()
    source = Reconnecting(
        camera.url, lambda: open_source(camera.url, stall_s=1), live=True, backoff_s=(0.05, 0.2)
    )
    source.on_availability = told
    samples: list[Sample] = []
    thread = threading.Thread(target=lambda: samples.extend(source), daemon=True)
    thread.start()
    wait_until(lambda: len(samples) >= 5)
    if how == "dies":
        camera.close()
    else:
        camera.silent.set()
    wait_until(lambda: told)
    before = len(samples)
    if how == "dies":
        camera = MjpegCamera(camera.port, first=1000)
    else:
        camera.sent = 1000
        camera.silent.clear()
    wait_until(lambda: len(samples) >= before + 5)
    source.close()
    thread.join(30)
    camera.close()
    assert not thread.is_alive()
    assert [online for online, _ in told] == [False, True]
    assert [place for place, s in enumerate(samples) if s.gap] == [before]
    numbers = [number_of(s.data) for s in samples]
    assert numbers == sorted(set(numbers)) and numbers[before - 1] < 1000 <= numbers[before]
    assert source.acquired - source.dropped == len(samples)
