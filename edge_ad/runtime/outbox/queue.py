"""The outbox as the runtime uses it: records in, in memory and at once; a thread that commits them in batches."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edge_ad.errors import OutboxError
from edge_ad.runtime.events import Event, Record, Score
from edge_ad.runtime.outbox.store import EVENT, SCORE, Row, Store

log = logging.getLogger(__name__)

_RETRY_S = 1.0  # after a commit that failed
_BATCH = 500  # records in one commit: what its log needs must fit into the store's reserve


class StreamState(Protocol):
    """What a stream goes on from after a restart; never changed after it was handed over."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        ...


@dataclass(frozen=True)
class Limits:
    """max_bytes: of the database; then the oldest scores are dropped, and without scores the oldest events.
    commit_delay_s: how long a record may wait for others to be committed with it, which is what a power cut can take.
    lazy_delay_s: the same for confirmations and states without records: losing those costs a repetition only.
    max_pending: records kept in memory while nothing can be committed.
    """

    max_bytes: int = 64 << 20
    commit_delay_s: float = 0.05
    lazy_delay_s: float = 1.0
    max_pending: int = 10_000


@dataclass(frozen=True)
class OutboxStats:
    """depth: records that some receiver has not confirmed. lost_*: dropped since the database was made. error: why the
    last commit failed, None when it did not."""

    depth: int
    lost_events: int
    lost_scores: int
    durable: bool
    error: str | None


@dataclass
class _Group:
    """Records of one frame, and the state that its stream has behind them: committed together."""

    records: list[Record]
    stream: str
    state: StreamState | None


class Outbox:
    """Gives records their `seq`, keeps them until every receiver has confirmed them. Safe to use from any thread.

    Only what is committed can be read, so nothing leaves the device that a restart would not remember.
    """

    def __init__(self, path: Path | None, receivers: Sequence[str], limits: Limits | None = None):
        """path: of the database, made when missing; None keeps all in memory. receivers: names of the sinks.
        Raises OutboxError."""
        self.limits = limits or Limits()
        self.durable = path is not None
        self._store = Store(path, receivers, max_bytes=self.limits.max_bytes)
        self._receivers = tuple(receivers)
        self._guard = threading.RLock()  # of the store
        self._changed = threading.Condition()  # of all below
        self._seq = self._committed_seq = self._store.last_seq
        self._pending: deque[_Group] = deque()
        self._n_pending = 0  # records in it
        self._states: dict[str, StreamState] = {}  # of frames without records, behind all that is pending
        self._confirmed: dict[str, list[int]] = {name: [] for name in receivers}
        self._lost = [0, 0]
        self._urgent_since: float | None = None
        self._lazy_since: float | None = None
        self._flush_asked = 0
        self._flushed = 0
        self._closing = self._closed = False
        self._error: str | None = None
        self._listeners: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    @property
    def committed_seq(self) -> int:
        """The highest number that has been committed."""
        return self._committed_seq

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, quickly and from the outbox's thread, whenever there is more to read."""
        self._listeners.append(listener)

    def append(
        self, records: Sequence[Record], *, stream: str, state: StreamState | None = None
    ) -> list[Record]:
        """Take records, all to be committed together with the state that the stream has behind them; returns them with
        their numbers. Never waits."""
        with self._changed:
            numbered = []
            for record in records:
                self._seq += 1
                numbered.append(record.model_copy(update={"seq": self._seq}))
            now = time.monotonic()
            if numbered:
                self._pending.append(_Group(numbered, stream, state))
                self._n_pending += len(numbered)
                self._states.pop(stream, None)
                self._shed()
                if self._urgent_since is None:
                    self._urgent_since = now
                    self._changed.notify_all()
            elif state is not None:
                self._states[stream] = state
                self._be_lazy(now)
            return numbered

    def confirm(self, receiver: str, seqs: Sequence[int]) -> None:
        """These records have arrived there."""
        with self._changed:
            self._confirmed[receiver] += seqs
            self._be_lazy(time.monotonic())
            if sum(map(len, self._confirmed.values())) > self.limits.max_pending:
                self._urgent_since = self._urgent_since or time.monotonic()
                self._changed.notify_all()

    def read(self, receiver: str, *, after: int, limit: int) -> list[Record]:
        """The oldest committed records behind number `after` that this receiver has not confirmed, in order."""
        with self._changed:
            known = set(self._confirmed[receiver])
        with self._guard:
            if self._closed:
                return []
            rows = self._store.read(receiver, after=after, limit=limit + len(known))
        kept = [row for row in rows if row.seq not in known][:limit]
        return [_KINDS[row.kind].model_validate_json(row.body) for row in kept]

    def backlog(self, receiver: str) -> int:
        """Records that this receiver has not confirmed, also those that are not committed yet."""
        with self._changed:
            uncommitted, known = self._n_pending, len(self._confirmed[receiver])
        with self._guard:
            return 0 if self._closed else max(0, self._store.backlog(receiver) - known) + uncommitted

    def state(self, stream: str) -> Any:
        """What the stream's last committed state was, as plain values; None without one."""
        with self._guard:
            return self._store.state(stream)

    def states(self) -> dict[str, Any]:
        """The last committed states of all streams."""
        with self._guard:
            return self._store.states()

    def stats(self) -> OutboxStats:
        """How full it is, and what was lost."""
        with self._changed:
            pending, lost, error = self._n_pending, tuple(self._lost), self._error
        with self._guard:
            return OutboxStats(
                self._store.backlog() + pending,
                self._store.lost_events + lost[0],
                self._store.lost_scores + lost[1],
                self.durable,
                error,
            )

    def flush(self, timeout_s: float) -> bool:
        """Commit all that was taken so far; whether that was done in time."""
        with self._changed:
            self._flush_asked += 1
            ticket = self._flush_asked
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._flushed >= ticket, timeout_s)

    def close(self) -> None:
        """Commit what is there, as far as that is possible, and close the database."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        with self._guard:
            self._closed = True
            self._store.close()

    def _be_lazy(self, now: float) -> None:
        if self._lazy_since is None:
            self._lazy_since = now
            self._changed.notify_all()

    def _shed(self) -> None:
        """While nothing can be committed: drop the oldest scores, then the oldest events."""
        for kind, place in ((Score, 1), (Event, 0)):
            for group in self._pending if self._n_pending > self.limits.max_pending else ():
                excess = self._n_pending - self.limits.max_pending
                dropped = [record for record in group.records if isinstance(record, kind)][:excess]
                group.records = [record for record in group.records if record not in dropped]
                self._n_pending -= len(dropped)
                self._lost[place] += len(dropped)
        while self._pending and not self._pending[0].records and self._n_pending >= self.limits.max_pending:
            self._pending.popleft()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due():
                    self._changed.wait(self._patience())
                closing = self._closing
            done = self._commit()
            if closing:
                return
            if not done:
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, _RETRY_S)

    def _due(self) -> bool:
        now = time.monotonic()
        urgent = self._urgent_since is not None and now >= self._urgent_since + self.limits.commit_delay_s
        lazy = self._lazy_since is not None and now >= self._lazy_since + self.limits.lazy_delay_s
        return urgent or lazy or self._closing or self._flush_asked > self._flushed

    def _patience(self) -> float | None:
        """How long until something will be due; None for as long as nothing comes."""
        now = time.monotonic()
        dues = []
        if self._urgent_since is not None:
            dues.append(self._urgent_since + self.limits.commit_delay_s - now)
        if self._lazy_since is not None:
            dues.append(self._lazy_since + self.limits.lazy_delay_s - now)
        return max(0.0, min(dues)) if dues else None

    def _commit(self) -> bool:
        """Write what waits, in batches; what could not be written waits on."""
        while True:
            with self._changed:
                batch = self._take()
                ticket = self._flush_asked
            try:
                with self._guard:
                    self._store.write(
                        [
                            Row(r.seq or 0, EVENT if isinstance(r, Event) else SCORE, r.to_json())
                            for r in batch.records
                        ],
                        states={name: state.as_dict() for name, state in batch.states.items()},
                        confirmed=batch.confirmed,
                        lost=batch.lost,
                    )
            except OutboxError as error:
                self._put_back(batch, str(error))
                return False
            if self._done(batch, ticket):
                return True

    def _take(self) -> _Batch:
        """The next batch, taken off what waits."""
        groups: list[_Group] = []
        n = 0
        while self._pending and (not groups or n + len(self._pending[0].records) <= _BATCH):
            groups.append(self._pending.popleft())
            n += len(groups[-1].records)
        self._n_pending -= n
        states = {group.stream: group.state for group in groups if group.state is not None}
        if not self._pending:
            states.update(self._states)
            self._states = {}
        confirmed = {name: seqs[:_BATCH] for name, seqs in self._confirmed.items() if seqs}
        lost, self._lost = (self._lost[0], self._lost[1]), [0, 0]
        self._urgent_since = self._lazy_since = None
        return _Batch(groups, states, confirmed, lost)

    def _done(self, batch: _Batch, ticket: int) -> bool:
        """Tell that a batch is committed; whether it was the last for now."""
        with self._changed:
            for name, seqs in batch.confirmed.items():
                self._confirmed[name] = self._confirmed[name][len(seqs) :]
            if batch.records:
                self._committed_seq = max(self._committed_seq, batch.records[-1].seq or 0)
            if self._error is not None:
                log.info("the outbox can be written again")
                self._error = None
            more = (len(batch.groups) > 0 and bool(self._pending)) or any(self._confirmed.values())
            if not more:
                self._flushed = ticket
            self._changed.notify_all()
        if batch.records:
            for listener in self._listeners:
                listener()
        return not more

    def _put_back(self, batch: _Batch, error: str) -> None:
        with self._changed:
            if self._error is None:
                log.error("%s; up to %d records wait in memory", error, self.limits.max_pending)
            self._error = error
            self._pending.extendleft(reversed(batch.groups))
            self._n_pending += len(batch.records)
            for name, state in batch.states.items():
                if not any(group.stream == name for group in self._pending):
                    self._states.setdefault(name, state)
            self._lost = [self._lost[0] + batch.lost[0], self._lost[1] + batch.lost[1]]
            self._shed()
            self._urgent_since = time.monotonic()


@dataclass(frozen=True)
class _Batch:
    """What one commit writes."""

    groups: list[_Group]
    states: dict[str, StreamState]
    confirmed: dict[str, list[int]]
    lost: tuple[int, int]

    @property
    def records(self) -> list[Record]:
        return [record for group in self.groups for record in group.records]


_KINDS: dict[int, type[Event] | type[Score]] = {EVENT: Event, SCORE: Score}
