"""The loop on a device: source, network, decision, sinks."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from edge_ad.errors import DataError, EdgeAdError
from edge_ad.runtime.decision import Change, Decision
from edge_ad.runtime.events import Event, EventVerdict, EventWriter, Score, State, Verdict, Where
from edge_ad.runtime.localise import Locate
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.scorer import Scored
from edge_ad.runtime.sinks.base import Sink
from edge_ad.runtime.sinks.fanout import FanOut, SinkReport
from edge_ad.runtime.sources.base import Source

log = logging.getLogger(__name__)

LATENCY_WINDOW = 10_000  # frames, the last ones, that the latency figures are of
_STOP_POLL_S = 0.1


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
class RunSummary:
    """What a run was. Counts are frames but for `events` (anomalies) and the sinks' own.

    dropped: frames of a live source that a newer one replaced. unreadable: inputs that could not be read, or
    that the network refused. latency_*_us: of the last 10 000 frames, None without any. error: what ended
    the run early, None when the source came to its end or `stop` was set. uncertain: frames in the rejection
    band, None where there was none.
    """

    frames: int
    anomalous: int
    events: int
    dropped: int
    unreadable: int
    latency_median_us: int | None
    latency_p99_us: int | None
    elapsed_s: float
    sinks: tuple[SinkReport, ...]
    error: EdgeAdError | None = None
    uncertain: int | None = None

    def raise_for_error(self) -> None:
        """Raise what ended the run early, if anything did."""
        if self.error is not None:
            raise self.error

    def as_dict(self) -> dict[str, Any]:
        """The summary as plain values for JSON; `error` as its text."""
        return {**asdict(replace(self, error=None)), "error": None if self.error is None else str(self.error)}

    def __str__(self) -> str:
        uncertain = "" if self.uncertain is None else f"{self.uncertain} uncertain, "
        lines = [
            f"{self.frames} frames in {self.elapsed_s:.1f} s: {self.anomalous} anomalous, {uncertain}"
            f"{self.events} events; {self.dropped} dropped, {self.unreadable} unreadable"
        ]
        if self.latency_median_us is not None and self.latency_p99_us is not None:
            median_ms, p99_ms = self.latency_median_us / 1000, self.latency_p99_us / 1000
            lines.append(f"latency {median_ms:.1f} ms median, {p99_ms:.1f} ms at the 99th percentile")
        for sink in self.sinks:
            state = f", {sink.lost} LOST" if sink.lost else ""
            cause = f" (last failure: {sink.error})" if sink.error else ""
            lines.append(f"{sink.name}: {sink.delivered} delivered{state}{cause}")
        return "\n".join(lines)


def run_stream(
    source: Source, infer: Callable[[Sample], Scored], decision: Decision, sinks: Sequence[Sink], *,
    stream: str, bundle: str, stop: threading.Event | None = None, locate: Locate | None = None,
    boot_id: str | None = None, on_result: Callable[[Result], None] | None = None,
) -> RunSummary:  # fmt: skip
    """Judge a source's samples until it ends or `stop` is set, and tell the sinks; then close source and sinks.

    stream: its name in events and topics. bundle: the digest of the bundle that `infer` runs. locate: where an
    anomaly is (`edge_ad.runtime.localise.locator`). boot_id: this run's identity, random by default.
    on_result: called with every judged frame.

    An input that `infer` refuses with DataError is logged and counted. Any other EdgeAdError of source or
    `infer` ends the run in good order and stands in the summary's `error` (see `raise_for_error`). However
    the run ends, an open event is ended and the sinks are given their time to deliver.
    """
    stop = stop or threading.Event()
    rejection = decision.rejection
    band = None if rejection is None else (rejection.lower, rejection.upper)
    writer = EventWriter(stream, threshold=decision.threshold, bundle=bundle, boot_id=boot_id, band=band)
    run = _Run(decision, writer, FanOut(sinks), locate=locate, live=source.live)
    begun = time.monotonic()
    finished = threading.Event()
    if source.live:  # a reader that waits for a camera is woken by closing its source
        threading.Thread(target=_close_on_stop, args=(source, stop, finished), daemon=True).start()
    error = None
    try:
        for sample in source:
            if stop.is_set():
                break
            result = run.judge(sample, infer)
            if result is not None and on_result is not None:
                on_result(result)
    except EdgeAdError as cause:
        error = cause
    finally:
        finished.set()
        source.close()
        run.end_open_event()
        reports = run.fan_out.close()
    return run.summary(source, reports, time.monotonic() - begun, error)


def _close_on_stop(source: Source, stop: threading.Event, finished: threading.Event) -> None:
    while not finished.wait(_STOP_POLL_S):
        if stop.is_set():
            source.close()
            return


@dataclass(frozen=True)
class _Peak:
    """The highest frame of the open event."""

    score: float
    sample: str
    where: Where | None


class _Run:
    """What a run remembers from frame to frame."""

    def __init__(
        self, decision: Decision, writer: EventWriter, fan_out: FanOut, *, locate: Locate | None, live: bool
    ):
        self.fan_out = fan_out
        self._decision = decision
        self._writer = writer
        self._locate = locate
        self._live = live
        self._frames = self._anomalous = self._uncertain = self._events = self._refused = 0
        self._latencies: deque[int] = deque(maxlen=LATENCY_WINDOW)
        self._peak = _Peak(0.0, "", None)
        self._record: Event | None = None  # the last one
        self._shown: tuple[str | None, Verdict] | None = None  # event and verdict of the last state
        self._last: tuple[Sample, Scored] | None = None

    def judge(self, sample: Sample, infer: Callable[[Sample], Scored]) -> Result | None:
        """Score one sample and report it; None for a sample that `infer` refuses."""
        try:
            scored = infer(sample)
        except DataError as error:
            self._refused += 1
            if self._refused == 1 or not self._live:  # a camera would say the same of every frame
                log.warning("%s: skipped: %s", sample.name, error)
            return None
        self._last = sample, scored
        verdict = self._decision.verdict(scored.score)
        new_peak = self._decision.is_new_peak(scored.score)
        changes = self._decision.step(scored.score)
        if verdict != "normal" and new_peak and (self._decision.open or changes):
            self._peak = _Peak(scored.score, sample.name, self._where(sample, scored, verdict))
        self._frames += 1
        self._anomalous += verdict == "anomalous"
        self._uncertain += verdict == "uncertain"
        self._latencies.append(scored.latency_us)
        events = tuple(self._report(change, sample, scored) for change in changes)
        begun = next((event for event in events if event.kind == "new"), None)
        self._show(begun or (self._record if self._decision.open else None), sample, scored)
        self.fan_out.score(
            Score(
                ts=sample.ts,
                stream=self._writer.stream,
                score=scored.score,
                threshold=self._decision.threshold,
            )
        )
        return Result(sample, scored, verdict, events)

    def end_open_event(self) -> None:
        """The stream has stopped."""
        if self._last is not None:
            for change in self._decision.close():
                self._report(change, *self._last)
                self._show(None, *self._last)

    def summary(
        self, source: Source, reports: tuple[SinkReport, ...], elapsed_s: float, error: EdgeAdError | None
    ) -> RunSummary:
        """What the run was, its source and sinks being closed."""
        median, p99 = (
            (int(us) for us in np.percentile(self._latencies, (50, 99))) if self._latencies else (None, None)
        )
        return RunSummary(
            frames=self._frames,
            anomalous=self._anomalous,
            events=self._events,
            dropped=source.dropped,
            unreadable=source.unreadable + self._refused,
            latency_median_us=median,
            latency_p99_us=p99,
            elapsed_s=elapsed_s,
            sinks=reports,
            error=error,
            uncertain=None if self._decision.rejection is None else self._uncertain,
        )

    def _report(self, change: Change, sample: Sample, scored: Scored) -> Event:
        event = self._writer.write(
            change.kind,
            change.number,
            ts=sample.ts,
            score=self._peak.score,
            latency_us=scored.latency_us,
            sample=self._peak.sample,
            where=self._peak.where,
            verdict=change.verdict,
        )
        self._record = event
        self._events += change.kind == "new"
        self.fan_out.event(event)
        return event

    def _show(self, event: Event | None, sample: Sample, scored: Scored) -> None:
        """Publish the state when it is another than the one shown. An event of one frame is shown for that one."""
        event_id = None if event is None else event.event_id
        verdict: Verdict = "normal" if event is None else event.verdict
        if (event_id, verdict) == self._shown:
            return
        self._shown = event_id, verdict
        self.fan_out.state(
            State(
                ts=sample.ts,
                stream=self._writer.stream,
                anomalous=verdict == "anomalous",
                verdict=verdict,
                score=scored.score,
                threshold=self._decision.threshold,
                band=self._writer.band,
                bundle=self._writer.bundle,
                event_id=event_id,
            )
        )

    def _where(self, sample: Sample, scored: Scored, verdict: EventVerdict) -> Where | None:
        """The part of the sample that made the verdict; what is uncertain stands out of the band's lower end only."""
        return None if self._locate is None else self._locate(sample, scored, self._decision.level(verdict))
