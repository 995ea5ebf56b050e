"""A source that is opened again whenever it goes away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from edge_ad.errors import DataError, SourceError
from edge_ad.runtime.sample import Position, Sample
from edge_ad.runtime.sources.base import OnAvailability, Source

log = logging.getLogger(__name__)


class Reconnecting:
    """A source of many attempts: where one fails, or a live one ends, the next is opened after a pause.

    on_availability: told (False, why) when the source goes away, also when it was never there, and (True, "") when it
    is back: a live one with its first sample, another when it is open. The first sample after that is marked as behind
    a gap. Sources with positions go on behind their last one.

    acquired, dropped, unreadable: sums over all attempts.
    """

    def __init__(
        self, name: str, open_: Callable[[], Source], *, live: bool, first: Source | None = None, burst: int = 1,
        backoff_s: tuple[float, float] = (1.0, 60.0), wait: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        """name: as shown to the user. open_: one attempt; called in a thread of its own, as it may take long. first: an
        attempt that is open already. burst: as of `Bursty` sources. backoff_s: the shortest and the longest pause; it
        doubles with each failure, and begins anew when an attempt has worked for longer than the pause before it took.
        wait: pauses for so many seconds; by default until `close`."""
        self.name = name
        self.live = live
        self.burst = burst
        self.on_availability: OnAvailability | None = None
        self._open = open_
        self._backoff_s = backoff_s
        self._closing = threading.Event()
        self._wait = wait or self._closing.wait
        self._clock = clock
        self._changed = threading.Condition()  # guards what follows
        self._source = first
        self._earlier = [0, 0, 0]  # acquired, dropped and unreadable of the attempts before

        self._position: Position | None = None
        self._pause_s = 0.0  # the last one
        self._gone_at: float | None = None
        self._next_line_s = 0.0  # how long it is away when the log says so again
        self._gap = False

    @property
    def acquired(self) -> int:
        """Inputs read so far."""
        return self._count(0)

    @property
    def dropped(self) -> int:
        """Of these, those that a newer one replaced before it was asked for."""
        return self._count(1)

    @property
    def unreadable(self) -> int:
        """Inputs that could not be read."""
        return self._count(2)

    def resume(self, position: Position) -> None:
        """Go on behind the sample that had this position. Called before the iteration. Raises SourceError for a
        position that is not of this source, where that is open already."""
        self._position = position
        if self._source is not None:
            _wind(self._source, position)

    def __iter__(self) -> Iterator[Sample]:
        """The samples of all attempts. Raises what no further attempt can cure: any other error than SourceError and
        DataError."""
        while not self._closing.is_set():
            begun: float | None = None
            reason = "the stream ended"
            try:
                source = self._attempt()
                if source is None:
                    return
                if not self.live:
                    begun = self._came()
                for sample in source:
                    if begun is None:
                        begun = self._came()
                    yield self._marked(sample)
                if not self.live:
                    return
            except (SourceError, DataError) as error:
                reason = error.what if error.where in (None, self.name) else f"{error.where}: {error.what}"
            finally:
                self._release()
            if self._closing.is_set():
                return
            self._went(reason)
            self._pause(0.0 if begun is None else self._clock() - begun)

    def close(self) -> None:
        """End the iteration, whatever it waits for; from any thread."""
        with self._changed:
            self._closing.set()
            source = self._source
            self._changed.notify_all()
        if source is not None:
            source.close()

    def _attempt(self) -> Source | None:
        """The next source, open; None once closed. What opens it when that happens is left to end by itself."""
        with self._changed:
            if self._source is not None:
                return self._source
        failures: list[BaseException] = []
        opener = threading.Thread(target=self._try, args=(failures,), name=f"open {self.name}", daemon=True)
        opener.start()
        with self._changed:
            self._changed.wait_for(lambda: self._closing.is_set() or self._source is not None or failures)
            if self._closing.is_set():
                return None
        opener.join()
        if failures:
            raise failures[0]
        return self._source

    def _try(self, failures: list[BaseException]) -> None:
        source = failure = None
        try:
            source = self._open()
            if self._position is not None:
                _wind(source, self._position)
        except BaseException as error:  # raised again by the thread that waits
            failure = error
        with self._changed:
            unwanted = failure is not None or self._closing.is_set()
            if failure is not None:
                failures.append(failure)
            elif not unwanted:
                self._source = source
            self._changed.notify_all()
        if unwanted and source is not None:
            source.close()

    def _release(self) -> None:
        """Close the attempt, and keep its counters."""
        source = self._source
        if source is None:
            return
        source.close()
        self._position = getattr(source, "position", None) or self._position
        with self._changed:
            self._earlier = [self._count(which) for which in range(3)]
            self._source = None

    def _count(self, which: int) -> int:
        with self._changed:
            source = self._source
            now = (0, 0, 0) if source is None else (source.acquired, source.dropped, source.unreadable)
            return self._earlier[which] + now[which]

    def _marked(self, sample: Sample) -> Sample:
        self._position = sample.position or self._position
        if not self._gap:
            return sample
        self._gap = False
        return replace(sample, gap=True)

    def _came(self) -> float:
        """It works; since when, by the clock."""
        now = self._clock()
        if self._gone_at is not None:
            log.warning("%s: back after %.0f s", self.name, now - self._gone_at)
            self._gone_at = None
            self._tell(True, "")
        return now

    def _went(self, reason: str) -> None:
        """One line on the loss, then ever rarer ones while it lasts."""
        self._gap = True
        now = self._clock()
        if self._gone_at is None:
            self._gone_at = now
            self._next_line_s = self._backoff_s[1]
            log.warning("%s: gone: %s; it is tried again until it is back", self.name, reason)
            self._tell(False, reason)
        elif now - self._gone_at >= self._next_line_s:
            self._next_line_s = 2 * (now - self._gone_at)
            log.warning("%s: still gone after %.0f s: %s", self.name, now - self._gone_at, reason)

    def _pause(self, worked_s: float) -> None:
        shortest, longest = self._backoff_s
        again = worked_s > self._pause_s
        self._pause_s = shortest if again else min(max(2 * self._pause_s, shortest), longest)
        self._wait(self._pause_s)

    def _tell(self, online: bool, reason: str) -> None:
        if self.on_availability is not None:
            self.on_availability(online, reason)


def _wind(source: Source, position: Position) -> None:
    """Have a source go on behind a position, if it can do that."""
    resume = getattr(source, "resume", None)
    if resume is not None:
        resume(position)
