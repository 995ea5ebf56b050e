"""One stream of a station: opened, run, and opened again when its engine or source fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import Payload
from edge_ad.errors import BoardError, EdgeAdError, EngineError, LinkError, PortError, SourceError, UsageError
from edge_ad.runtime.decision import Decision, DecisionConfig
from edge_ad.runtime.deployment import LiveBundle
from edge_ad.runtime.events import EventWriter, Where
from edge_ad.runtime.localise import locator
from edge_ad.runtime.majority import majority
from edge_ad.runtime.notes import Availability, Crop, Health
from edge_ad.runtime.operations.drift import DriftMonitor
from edge_ad.runtime.operations.snapshot import LatencyHistogram, StreamView
from edge_ad.runtime.reporting import Reporting
from edge_ad.runtime.scorer import Scorer
from edge_ad.runtime.sinks.base import StreamInfo
from edge_ad.runtime.sources import open_source
from edge_ad.runtime.sources.base import Source
from edge_ad.runtime.sources.capture import without_login
from edge_ad.runtime.station.config import StreamTable
from edge_ad.runtime.station.engines import Engines, Shared
from edge_ad.runtime.stream.judge import Cap, Judge, Result
from edge_ad.runtime.stream.stream import Stream
from edge_ad.runtime.stream.summary import StreamSummary

log = logging.getLogger(__name__)

RETRY_S = (1.0, 60.0)
_CURABLE = (EngineError, LinkError, BoardError, PortError, SourceError)


def default_release(table: StreamTable, modality: str) -> int:
    """0 (each frame a part of its own) for folders and arrays of images, else 3."""
    separate = table.source.startswith(("images:", "npy:")) or Path(table.source).is_dir()
    return 0 if separate and modality not in ("scan", "series") and table.decision.get("n", 1) == 1 else 3


@dataclass
class RunningStream:
    """What a station holds of one stream, from opening it to its end."""

    table: StreamTable
    engines: Engines
    reporting: Reporting
    boot_id: str
    retry: bool
    on_result: Callable[[Result], None] | None = None
    on_alive: Callable[[str], None] = lambda name: None
    _stop: threading.Event = field(default_factory=threading.Event)
    online: bool = True
    summary: StreamSummary | None = None

    def __post_init__(self) -> None:
        """Open bundle, engine and source for the first time. Raises EdgeAdError: nothing of it is open then."""
        self.live: LiveBundle = self.engines.bundle(self.table)
        self.shared: Shared = self.engines.engine(self.table)
        self.payload: Payload = self.shared.payload
        thresholds = self.payload.thresholds
        reference = None if thresholds is None else thresholds.reference
        self.latency = LatencyHistogram()
        self._last_score: float | None = None
        self.drift = None if reference is None else DriftMonitor(reference)
        self.judge: Judge = self._judge(self._decision())
        position = self.judge.restore(self.reporting.outbox.state(self.table.name))
        self.source: Source = self._open_source()
        if position is not None and hasattr(self.source, "resume"):
            self.source.resume(position)
        self.stream: Stream = self._stream()

    @property
    def name(self) -> str:
        """As in events and topics."""
        return self.table.name

    def info(self) -> StreamInfo:
        """For sinks that introduce the device to others."""
        thresholds = self.payload.thresholds
        return StreamInfo(
            self.name, self.live.digest, self.live.manifest.detector.name, self.live.manifest.input.modality,
            self.judge.decision.threshold, None if thresholds is None else thresholds.allowed,
        )  # fmt: skip

    def run(self) -> StreamSummary:
        """Judge the source to its end, or until `stop`; what fails and can be cured is opened anew after a pause."""
        pause_s = RETRY_S[0]
        while True:
            before = self.judge.counts.frames
            summary = self.stream.run()
            if summary.error is None or not self.retry or not isinstance(summary.error, _CURABLE):
                break
            log.warning("%s; opened again in %g s", summary.error, pause_s, extra={"stream": self.name})
            self.tell_availability(False, str(summary.error))
            if isinstance(summary.error, EngineError | LinkError | BoardError | PortError):
                self.engines.drop(self.shared.engine)
            while not self._reopen(pause_s):
                if self._stop.is_set():
                    break
                pause_s = min(2 * pause_s, RETRY_S[1])
            if self._stop.is_set():
                break
            if self.judge.counts.frames > before:
                pause_s = RETRY_S[0]
            self.judge.gap()
            self.tell_availability(True, "")
        self.summary = summary
        return summary

    def stop(self) -> None:
        """End the stream, from any thread."""
        self._stop.set()
        self.stream.stop()

    def close(self) -> None:
        """Release the source of a stream that was never run."""
        self.source.close()

    def tell_availability(self, online: bool, reason: str) -> None:
        """A source went away or came back."""
        self.online = online
        self.on_alive(self.name)
        self.reporting.note(
            Availability(ts=datetime.now(timezone.utc), stream=self.name, online=online, reason=reason)
        )
        self.tell_health()

    def tell_health(self) -> Health:
        """Have the sinks show how the stream fares."""
        health = self.health()
        self.reporting.note(health)
        return health

    def health(self) -> Health:
        """How the stream fares now."""
        counts, ages = self.judge.counts, list(self.judge.ages or self.judge.latencies)[-1000:]
        stats = self.reporting.outbox.stats()
        drift = None if self.drift is None else self.drift.last
        return Health(
            ts=datetime.now(timezone.utc),
            stream=self.name,
            online=self.online,
            paused=self.stream.paused,
            frames=counts.frames,
            anomalous=counts.anomalous,
            uncertain=counts.uncertain,
            events=counts.events,
            dropped=self.stream.dropped,
            unreadable=self.source.unreadable + counts.refused,
            gaps=counts.gaps,
            latency_us=sorted(ages)[len(ages) // 2] if ages else None,
            drifted=None if drift is None else drift.drifted,
            distance=None if drift is None else round(drift.distance, 3),
            backlog=stats.depth,
            lost_events=stats.lost_events,
            lost_scores=stats.lost_scores,
        )

    def view(self) -> StreamView:
        """For who watches the device."""
        return StreamView(
            self.health(), self.live.digest, self.judge.decision.threshold, self._last_score, self.latency
        )

    def command(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Carry out a command; returns what to answer. Raises UsageError for one that is refused."""
        if name == "threshold":
            return {"threshold": self._set_threshold(arguments.get("value"))}
        if name in ("pause", "resume"):
            paused = arguments.get("paused", True) if name == "pause" else False
            (self.stream.pause if paused else self.stream.resume)()
            self.tell_health()
            return {"paused": self.stream.paused}
        if name == "statistics":
            return self.tell_health().model_dump(mode="json", by_alias=True, exclude_none=True)
        raise UsageError(f"unknown command '{name}'", hint="threshold, pause, resume, statistics")

    def _set_threshold(self, value: Any) -> float:
        thresholds = self.payload.thresholds
        allowed = None if thresholds is None else thresholds.allowed
        if value is None:
            value = self.payload.threshold(self.table.threshold)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError("'value' has to be a number, or null for the bundle's own threshold")
        elif allowed is None:
            raise UsageError(
                "this bundle allows no other threshold", hint="compile it anew with --threshold-range"
            )
        elif not allowed[0] <= value <= allowed[1]:
            raise UsageError(
                f"{value:g} is outside of what the bundle allows, {allowed[0]:g} to {allowed[1]:g}"
            )
        own = value == self.payload.threshold(self.table.threshold)
        self.stream.soon(lambda: self.judge.set_threshold(float(value), kept=not own))
        log.info("threshold set to %g by a command", value, extra={"stream": self.name})
        return float(value)

    def _look_for_drift(self, score: float) -> None:
        if self.drift is None:
            return
        before = self.drift.last is not None and self.drift.last.drifted
        found = self.drift.add(score)
        if found is None or found.drifted == before:
            return
        what = f"scores are {found.direction} than" if found.drifted else "scores look again like"
        log.warning(
            "%s those of the calibration (distance %.2f)", what, found.distance, extra={"stream": self.name}
        )
        self.tell_health()

    def _decision(self) -> Decision:
        thresholds = self.payload.thresholds
        limit = self.payload.threshold(self.table.threshold)
        band = thresholds.rejection if thresholds is not None and self.table.threshold is None else None
        release = default_release(self.table, self.live.manifest.input.modality)
        return Decision(limit, DecisionConfig(**{"release": release, **self.table.decision}), band)

    def _judge(self, decision: Decision) -> Judge:
        rejection = decision.rejection
        band = None if rejection is None else (rejection.lower, rejection.upper)
        writer = EventWriter(
            self.name, threshold=decision.threshold, bundle=self.live.digest, boot_id=self.boot_id, band=band
        )
        origin = f"{self.live.digest} {self.payload.target} {without_login(self.table.source)}"
        return Judge(
            decision, writer, self.reporting.outbox, self.reporting.note, origin=origin, live=True,
            locate=locator(self.live.manifest.input, self.payload.head), keep_scores=self.table.keep_scores,
            cap=self._cap(), show_crop=self._show_crop if self.table.crops else None,
        )  # fmt: skip

    def _cap(self) -> Cap | None:
        if self.table.majority is None:
            return None
        return majority(self.table.majority.correlation, self.live.manifest.input).cap

    def _show_crop(self, event_id: str, image: npt.NDArray[np.generic], where: Where | None) -> None:
        from edge_ad.runtime.crops import crop_jpeg

        jpeg = crop_jpeg(np.asarray(image, np.uint8), where)
        self.reporting.crop(Crop(self.name, event_id, jpeg))

    def _open_source(self) -> Source:
        return open_source(
            self.table.source,
            input=self.live.manifest.input,
            stall_s=self.table.stall_s,
            reconnect=self.retry,
            on_attempt=lambda: self.on_alive(self.name),
        )

    def _stream(self) -> Stream:
        if hasattr(self.source, "on_availability"):
            self.source.on_availability = self.tell_availability
        self.judge.live = self.source.live
        infer = Scorer(
            self.shared.engine,
            self.live.manifest.input_of(self.payload),
            self.payload.head,
            self.shared.guard,
        )
        return Stream(self.name, self.source, infer, self.judge, on_result=self._judged)

    def _reopen(self, pause_s: float) -> bool:
        """Wait, then open source and engine anew; whether that worked."""
        if self._stop.wait(pause_s):
            return False
        self.on_alive(self.name)
        try:
            self.shared = self.engines.engine(self.table)
            self.source = self._open_source()
            if self.judge.position is not None and hasattr(self.source, "resume"):
                self.source.resume(self.judge.position)
        except EdgeAdError as error:
            log.debug("%s", error)
            return False
        self.stream = self._stream()
        return True

    def _judged(self, result: Result) -> None:
        self.online = True
        self.on_alive(self.name)
        self._last_score = result.scored.score
        self.latency.observe(result.scored.latency_us)
        self._look_for_drift(result.scored.score)
        if self.on_result is not None:
            self.on_result(result)
