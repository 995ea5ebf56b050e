"""Several sinks at once, each with its own thread and queue: none can stop or delay another."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_ad.errors import EdgeAdError
from edge_ad.runtime.events import Event, Score, State
from edge_ad.runtime.sinks.base import Sink

log = logging.getLogger(__name__)

CAPACITY = 10_000


@dataclass(frozen=True)
class SinkReport:
    """How a sink did. Every event is delivered, dropped or undelivered.

    delivered: events that it took and, as far as it can know, that arrived. dropped: the oldest of a full
    queue. undelivered: left over at the end, or never acknowledged. failures: attempts that failed. error:
    the last failure's text. stuck: it did not come back from a call in time and was left behind.
    """

    name: str
    delivered: int
    dropped: int
    undelivered: int
    failures: int
    error: str | None
    stuck: bool

    @property
    def lost(self) -> int:
        """Events that did not arrive, as far as is known."""
        return self.dropped + self.undelivered


class FanOut:
    """Gives every event, state and score to every sink, without waiting for any."""

    def __init__(
        self, sinks: Sequence[Sink], *, capacity: int = CAPACITY, drain_s: float = 5.0, close_s: float = 6.0,
        retry_s: tuple[float, float] = (0.5, 30.0),
    ):  # fmt: skip
        """capacity: events a sink may be behind; then the oldest is dropped. drain_s, close_s: how long
        `close` lets a sink catch up, and then finish. retry_s: first and longest pause after a failure.
        """
        self._close_s = close_s
        self._drain_s = drain_s
        self._workers = [_Worker(sink, capacity, retry_s) for sink in sinks]

    def event(self, event: Event) -> None:
        """Queue an event for every sink."""
        for worker in self._workers:
            worker.put_event(event)

    def state(self, state: State) -> None:
        """Have every sink show a state; one that comes before the last was shown takes its place."""
        for worker in self._workers:
            worker.put_state(state)

    def score(self, score: Score) -> None:
        """Have every sink show a score; one that comes before the last was shown takes its place."""
        for worker in self._workers:
            worker.put_score(score)

    def close(self) -> tuple[SinkReport, ...]:
        """Let all sinks catch up and close, side by side and within the limits; how each of them did."""
        now = time.monotonic()
        for worker in self._workers:
            worker.finish(now + self._drain_s)
        for worker in self._workers:
            worker.thread.join(max(0.0, now + self._drain_s + self._close_s - time.monotonic()))
        reports = tuple(worker.report() for worker in self._workers)
        for report in reports:
            if report.lost or report.stuck:
                cause = f" ({report.error})" if report.error else " (it is stuck)" if report.stuck else ""
                log.warning("%s: %d events were not delivered%s", report.name, report.lost, cause)
        return reports


class _Worker:
    """One sink, its queue and its thread."""

    def __init__(self, sink: Sink, capacity: int, retry_s: tuple[float, float]):
        self._sink = sink
        self._retry_s = retry_s
        self._changed = threading.Condition()
        self._events: deque[Event] = deque()
        self._capacity = capacity
        self._states: dict[str, State] = {}
        self._scores: dict[str, Score] = {}
        self._under_way: Event | None = None
        self._deadline: float | None = None  # set once closing
        self._delivered = self._dropped = self._failures = 0
        self._failing = False
        self._error: str | None = None
        self.thread = threading.Thread(target=self._run, name=f"sink {sink.name}", daemon=True)
        self.thread.start()

    def put_event(self, event: Event) -> None:
        with self._changed:
            if len(self._events) >= self._capacity:
                self._events.popleft()
                self._dropped += 1
                if self._dropped == 1:
                    log.warning("%s: too slow; the oldest events are dropped", self._sink.name)
            self._events.append(event)
            self._changed.notify_all()

    def put_state(self, state: State) -> None:
        with self._changed:
            self._states[state.stream] = state
            self._changed.notify_all()

    def put_score(self, score: Score) -> None:
        with self._changed:
            self._scores[score.stream] = score
            self._changed.notify_all()

    def finish(self, deadline: float) -> None:
        with self._changed:
            self._deadline = deadline
            self._changed.notify_all()

    def report(self) -> SinkReport:
        with self._changed:
            lost = min(self._sink.lost, self._delivered)
            return SinkReport(
                name=self._sink.name,
                delivered=self._delivered - lost,
                dropped=self._dropped,
                undelivered=len(self._events) + (self._under_way is not None) + lost,
                failures=self._failures,
                error=self._error,
                stuck=self.thread.is_alive(),
            )

    def _run(self) -> None:
        while self._wait_for_work():
            with self._changed:
                states, scores = list(self._states.values()), list(self._scores.values())
                self._states.clear()
                self._scores.clear()
                self._under_way = self._events.popleft() if self._events else None
            if self._under_way is not None and not self._deliver(self._under_way):
                break
            for state in states:
                self._attempt(lambda state=state: self._sink.state(state))  # type: ignore[misc]
            for score in scores:
                self._attempt(lambda score=score: self._sink.score(score))  # type: ignore[misc]
        self._attempt(self._sink.close)

    def _wait_for_work(self) -> bool:
        """True when there is something to hand over; False when it is time to close."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._events or self._states or self._scores or self._deadline is not None
            )
            if self._deadline is not None and time.monotonic() > self._deadline:
                return False
            return bool(self._events or self._states or self._scores)

    def _deliver(self, event: Event) -> bool:
        """Hand an event over, again and again with growing pauses. False when closing cut that short."""
        pause_s = self._retry_s[0]
        while not self._attempt(lambda: self._sink.event(event)):
            with self._changed:
                was_closing = self._deadline is not None
                self._changed.wait_for(lambda: self._deadline is not None, pause_s)
                if was_closing:
                    return False
            pause_s = min(2 * pause_s, self._retry_s[1])
        with self._changed:
            self._under_way = None
            self._delivered += 1
        return True

    def _attempt(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except Exception as error:  # also a fault in the sink itself: the others go on
            text = str(error) if isinstance(error, EdgeAdError) else f"{self._sink.name}: {error!r}"
            with self._changed:
                self._failures += 1
                self._error = text
            if not self._failing:
                self._failing = True
                log.warning("%s; trying on", text)
            return False
        if self._failing:
            self._failing = False
            log.info("%s: works again", self._sink.name)
        return True
