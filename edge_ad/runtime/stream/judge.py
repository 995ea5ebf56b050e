"""From scored samples to records: what a stream remembers from frame to frame."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.errors import EdgeAdError
from edge_ad.runtime.decision import Change, Decision
from edge_ad.runtime.events import Event, EventVerdict, EventWriter, Record, Score, State, Verdict, Where
from edge_ad.runtime.localise import Locate
from edge_ad.runtime.notes import Note
from edge_ad.runtime.outbox.queue import Outbox
from edge_ad.runtime.sample import Position, Sample
from edge_ad.runtime.scorer import Scored
from edge_ad.runtime.stream.summary import StreamSummary

LATENCY_WINDOW = 10_000  # frames, the last ones, that the latency figures are of
SCORE_INTERVAL_S = 1.0  # how often a score is shown

# The score to judge by, of a sample, what the network says of it, and a level that is quiet.
Cap = Callable[[Sample, Scored, float], float]
# Takes an event's id, the image (H, W, 3) of its highest frame, and where in it.
OnCrop = Callable[[str, npt.NDArray[np.generic], Where | None], None]


@dataclass(frozen=True)
class Result:
    """One judged frame: what came in, its score and verdict, and the events that it gave rise to."""

    sample: Sample
    scored: Scored
    verdict: Verdict
    events: tuple[Event, ...]

    @property
    def anomalous(self) -> bool:
        """Whether that is the verdict."""
        return self.verdict == "anomalous"


@dataclass(frozen=True)
class Peak:
    """The highest frame of the open event."""

    score: float
    sample: str
    where: Where | None


@dataclass(frozen=True)
class _Frame:
    """What stays of a judged frame."""

    ts: datetime
    score: float
    latency_us: int
    position: Position | None


@dataclass(frozen=True)
class Memory:
    """What a stream goes on from after a restart. origin: of what it speaks (bundle, source); another one's is void."""

    origin: str
    decision: Any
    event_id: str | None
    verdict: EventVerdict | None  # of the open event
    peak: Peak | None
    position: Position | None
    latency_us: int  # of the last frame, for an end that comes after a restart
    threshold: float | None  # that a command has set

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        peak = None
        if self.peak is not None:
            where = (
                None
                if self.peak.where is None
                else self.peak.where.model_dump(mode="json", exclude_none=True)
            )
            peak = {"score": self.peak.score, "sample": self.peak.sample, "where": where}
        return {
            "origin": self.origin, "decision": self.decision, "event_id": self.event_id,
            "verdict": self.verdict, "peak": peak,
            "position": self.position, "latency_us": self.latency_us, "threshold": self.threshold,
        }  # fmt: skip


@dataclass
class Counts:
    """Of this run."""

    frames: int = 0
    anomalous: int = 0
    uncertain: int = 0
    events: int = 0
    refused: int = 0
    gaps: int = 0


class Judge:
    """One stream's verdicts and records. Used by one thread; `counts` and `latencies` may be read by others."""

    def __init__(
        self, decision: Decision, writer: EventWriter, outbox: Outbox, show: Callable[[Note], None], *,
        origin: str, live: bool, locate: Locate | None = None, keep_scores: int = 0,
        cap: Cap | None = None, show_crop: OnCrop | None = None,
    ):  # fmt: skip
        """show: takes notes. origin: see Memory. keep_scores: every so many frames a score is kept as events are; 0:
        none. cap: the score to judge by, of a sample, what the network says, and a level that
        is quiet (`edge_ad.runtime.majority`). show_crop: takes the
        image of an event's highest frame, when it begins and when it ends."""
        self.decision = decision
        self.counts = Counts()
        self.latencies: deque[int] = deque(maxlen=LATENCY_WINDOW)
        self.ages: deque[int] = deque(maxlen=LATENCY_WINDOW)
        self._writer = writer
        self._outbox = outbox
        self._show_note = show
        self._origin = origin
        self.live = live
        self.position: Position | None = None  # behind the last sample, of a replay
        self._set: float | None = None  # threshold that a command has set
        self._locate = locate
        self._keep_scores = keep_scores
        self._cap = cap
        self._show_crop = show_crop
        self._peak_image: npt.NDArray[np.generic] | None = None
        self._peak = Peak(0.0, "", None)
        self._event_id: str | None = None  # of the open event
        self._verdict: EventVerdict | None = None  # of the last event, as it was last told
        self._record: Event | None = None  # the last one
        self._shown: tuple[str | None, Verdict] | None = None  # event and verdict of the last state
        self._last: _Frame | None = None
        self._score_due = 0.0

    def restore(self, memory: Any) -> Position | None:
        """Go on from what another run has kept (`Outbox.state`); the position behind which a replay goes on.

        An event that was open stays open, where bundle, source and rules of decision are the same; else it ends now.
        """
        if not isinstance(memory, dict):
            return None
        kept = memory.get("peak")
        peak = None
        if kept is not None:
            where = None if kept["where"] is None else Where.model_validate(kept["where"])
            peak = Peak(kept["score"], kept["sample"], where)
        same = memory["origin"] == self._origin
        if same and memory["threshold"] is not None:
            self._use_threshold(memory["threshold"], kept=True)
        if same and self.decision.restore(memory["decision"]):
            self._event_id, self._verdict = memory["event_id"], memory["verdict"]
            self._peak = peak or self._peak
            if not memory["position"]:
                self.gap()
        elif memory["event_id"] is not None and peak is not None:
            self._end_foreign(memory, peak)
        self.position = memory["position"] if same else None
        if same:
            self._last = _Frame(datetime.now(timezone.utc), 0.0, memory["latency_us"], self.position)
        return self.position

    def judge(self, sample: Sample, scored: Scored) -> Result:
        """Take the next scored sample and report it."""
        decision, counts = self.decision, self.counts
        if sample.gap:
            self.gap()
        score = scored.score if self._cap is None else self._cap(sample, scored, decision.release_level)
        frame = self._last = _Frame(sample.ts, score, scored.latency_us, sample.position)
        verdict = decision.verdict(score)
        new_peak = decision.is_new_peak(score)
        changes = decision.step(score)
        if verdict != "normal" and new_peak:
            self._peak = Peak(score, sample.name, self._where(sample, scored, verdict))
            self._peak_image = None if self._show_crop is None else sample.data
        counts.frames += 1
        counts.anomalous += verdict == "anomalous"
        counts.uncertain += verdict == "uncertain"
        self.latencies.append(scored.latency_us)
        if self.live:
            self.ages.append(int((datetime.now(timezone.utc) - sample.ts).total_seconds() * 1e6))
        events = self._report(changes, frame)
        begun = next((event for event in events if event.kind == "new"), None)
        self._show_state(begun or (self._record if decision.open else None), frame)
        if time.monotonic() >= self._score_due:
            self._score_due = time.monotonic() + SCORE_INTERVAL_S
            self._show_note(self._score(frame))
        return Result(sample, scored, verdict, events)

    def gap(self) -> None:
        """Samples are missing before the next one."""
        self.counts.gaps += 1
        self.decision.gap()

    def set_threshold(self, value: float, *, kept: bool) -> None:
        """Judge by another threshold from the next frame on. kept: also after a restart. By the thread that judges."""
        self._use_threshold(value, kept=kept)
        self._shown = None  # states tell the threshold

    def end_open_event(self) -> None:
        """The stream has stopped, in good order: what is open ends, and a replay of it would begin anew."""
        if self._last is None:
            return
        changes = self.decision.close()
        if changes:
            self._report(changes, self._last)
            self._show_state(None, self._last)

    def forget(self) -> None:
        """The replay came to its end, and its receivers were served: the next run begins at its beginning."""
        if self._last is not None:
            done = replace(self._memory(self._last), origin="", position=None)
            self._outbox.append([], stream=self._writer.stream, state=done)

    def summary(
        self, *, dropped: int, unreadable: int, elapsed_s: float, error: EdgeAdError | None
    ) -> StreamSummary:
        """What the stream was."""
        counts = self.counts
        latency, age = _percentiles(self.latencies), _percentiles(self.ages)
        return StreamSummary(
            frames=counts.frames,
            anomalous=counts.anomalous,
            events=counts.events,
            dropped=dropped,
            unreadable=unreadable + counts.refused,
            latency_median_us=latency[0],
            latency_p99_us=latency[1],
            elapsed_s=elapsed_s,
            error=error,
            uncertain=None if self.decision.rejection is None else counts.uncertain,
            gaps=counts.gaps,
            age_median_us=age[0],
            age_p99_us=age[1],
        )

    def _use_threshold(self, value: float, *, kept: bool) -> None:
        self.decision.set_threshold(value)
        self._set = value if kept else None
        self._writer.threshold = value
        rejection = self.decision.rejection
        self._writer.band = None if rejection is None else (rejection.lower, rejection.upper)

    def _report(self, changes: tuple[Change, ...], frame: _Frame) -> tuple[Event, ...]:
        """Put the records of a frame into the outbox, all together with what the stream goes on from."""
        records: list[Record] = []
        for change in changes:
            if change.kind == "new" or self._event_id is None:
                self._event_id = self._writer.event_id(change.number)
            records.append(
                self._writer.write(
                    change.kind,
                    self._event_id,
                    ts=frame.ts,
                    score=self._peak.score,
                    latency_us=frame.latency_us,
                    sample=self._peak.sample,
                    where=self._peak.where,
                    verdict=change.verdict,
                )
            )
            self.counts.events += change.kind == "new"
            if change.kind != "update" and self._show_crop is not None and self._peak_image is not None:
                self._show_crop(self._event_id, self._peak_image, self._peak.where)
            if change.kind == "end":
                self._event_id = self._peak_image = None
        n_events = len(records)
        if n_events:
            self._verdict = changes[-1].verdict
        if self._keep_scores and self.counts.frames % self._keep_scores == 0:
            records.append(self._score(frame))
        self.position = frame.position
        numbered = self._outbox.append(records, stream=self._writer.stream, state=self._memory(frame))
        events = tuple(record for record in numbered[:n_events] if isinstance(record, Event))
        if events:
            self._record = events[-1]
        return events

    def _memory(self, frame: _Frame) -> Memory:
        is_open = self._event_id is not None
        return Memory(
            self._origin, self.decision.snapshot(), self._event_id, self._verdict if is_open else None, self._peak,
            frame.position, frame.latency_us, self._set,
        )  # fmt: skip

    def _end_foreign(self, memory: Any, peak: Peak) -> None:
        """End an event that an earlier run left open, and that this one cannot go on with."""
        event = self._writer.write(
            "end",
            memory["event_id"],
            ts=datetime.now(timezone.utc),
            score=peak.score,
            latency_us=memory["latency_us"],
            sample=peak.sample,
            where=peak.where,
            verdict=memory["verdict"],
        )
        self._outbox.append([event], stream=self._writer.stream)

    def _score(self, frame: _Frame) -> Score:
        return Score(
            ts=frame.ts, stream=self._writer.stream, score=frame.score, threshold=self.decision.threshold
        )

    def _show_state(self, event: Event | None, frame: _Frame) -> None:
        """Show the state when it is another than the one shown. An event of one frame is shown for that one."""
        event_id = None if event is None else event.event_id
        verdict: Verdict = "normal" if event is None else event.verdict
        if (event_id, verdict) == self._shown:
            return
        self._shown = event_id, verdict
        self._show_note(
            State(
                ts=frame.ts,
                stream=self._writer.stream,
                anomalous=verdict == "anomalous",
                verdict=verdict,
                score=frame.score,
                threshold=self.decision.threshold,
                band=self._writer.band,
                bundle=self._writer.bundle,
                event_id=event_id,
            )
        )

    def _where(self, sample: Sample, scored: Scored, verdict: EventVerdict) -> Where | None:
        """The part of the sample that made the verdict; what is uncertain stands out of the band's lower end only."""
        return None if self._locate is None else self._locate(sample, scored, self.decision.level(verdict))


def _percentiles(us: deque[int]) -> tuple[int | None, int | None]:
    values = list(us)
    if not values:
        return None, None
    median, p99 = np.percentile(values, (50, 99))
    return int(median), int(p99)
