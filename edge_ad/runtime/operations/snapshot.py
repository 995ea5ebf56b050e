"""How a device is at one moment, for whoever asks over HTTP."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import asdict, dataclass, field
from typing import Any

from edge_ad.runtime.notes import Health
from edge_ad.runtime.outbox.courier import SinkReport
from edge_ad.runtime.outbox.queue import OutboxStats

# Upper ends of the latency's buckets, seconds: from a microcontroller's network to a large one on a slow CPU.
BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass
class LatencyHistogram:
    """Counts of latencies by bucket. One thread observes, others read: a reader may miss the last one."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0

    def observe(self, latency_us: int) -> None:
        """Count a frame."""
        seconds = latency_us / 1e6
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper end, frames at or below it), the last one `+Inf`: as Prometheus wants it."""
        found, so_far = [], 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), list(self.counts), strict=True):
            so_far += count
            found.append((bound, float(so_far)))
        return found


@dataclass(frozen=True)
class StreamView:
    """One stream. score: of its last frame, or event; None before the first. latency: None where others judge."""

    health: Health
    bundle: str
    threshold: float
    score: float | None
    latency: LatencyHistogram | None = None


@dataclass(frozen=True)
class Snapshot:
    """The whole device. version: of edge-ad."""

    node: str
    version: str
    streams: tuple[StreamView, ...]
    outbox: OutboxStats
    sinks: tuple[SinkReport, ...]

    def troubles(self) -> list[str]:
        """What is not as it should be, a clause each; empty when all is well."""
        found = [f"stream {view.health.stream}: no source" for view in self.streams if not view.health.online]
        found += [
            f"sink {sink.name}: {sink.error or 'not connected'}" for sink in self.sinks if not sink.connected
        ]
        if self.outbox.error is not None:
            found.append(f"outbox: {self.outbox.error}")
        return found

    def as_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        troubles = self.troubles()
        return {
            "status": "degraded" if troubles else "ok",
            "troubles": troubles,
            "node": self.node,
            "version": self.version,
            "streams": {
                view.health.stream: {
                    **view.health.model_dump(mode="json", by_alias=True, exclude_none=True),
                    "bundle": view.bundle,
                    "threshold": view.threshold,
                    "score": view.score,
                }
                for view in self.streams
            },
            "outbox": asdict(self.outbox),
            "sinks": [asdict(sink) for sink in self.sinks],
        }
