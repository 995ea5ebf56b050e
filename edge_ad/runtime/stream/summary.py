"""What a run was, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from edge_ad.errors import EdgeAdError
from edge_ad.runtime.outbox.courier import SinkReport


@dataclass(frozen=True)
class StreamSummary:
    """What a stream was. Counts are frames but for `events` (anomalies).

    dropped: frames of a live source that a newer one replaced. unreadable: inputs that could not be read, or
    that the network refused. gaps: how often samples were missing. latency_*_us: of the last 10 000 frames, None
    without any; for live sources age_*_us is the same from acquisition to verdict. error: what ended the stream early,
    None when the source came to its end or it was stopped. uncertain: frames in the rejection band, None where there
    was none.
    """

    frames: int
    anomalous: int
    events: int
    dropped: int
    unreadable: int
    latency_median_us: int | None
    latency_p99_us: int | None
    elapsed_s: float
    error: EdgeAdError | None = None
    uncertain: int | None = None
    gaps: int = 0
    age_median_us: int | None = None
    age_p99_us: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The summary as plain values for JSON; `error` as its text."""
        return {**asdict(replace(self, error=None)), "error": None if self.error is None else str(self.error)}

    def __str__(self) -> str:
        uncertain = "" if self.uncertain is None else f"{self.uncertain} uncertain, "
        gaps = f", {self.gaps} gaps" if self.gaps else ""
        lines = [
            f"{self.frames} frames in {self.elapsed_s:.1f} s: {self.anomalous} anomalous, {uncertain}"
            f"{self.events} events; {self.dropped} dropped, {self.unreadable} unreadable{gaps}"
        ]
        for what, median, p99 in (
            ("latency", self.latency_median_us, self.latency_p99_us),
            ("from acquisition to verdict", self.age_median_us, self.age_p99_us),
        ):
            if median is not None and p99 is not None:
                lines.append(
                    f"{what} {median / 1000:.1f} ms median, {p99 / 1000:.1f} ms at the 99th percentile"
                )
        return "\n".join(lines)


def describe(report: SinkReport) -> str:
    """How a sink did, in a line."""
    waiting = f", {report.lost} LOST" if report.lost else f", {report.waiting} wait" if report.waiting else ""
    cause = f" (last failure: {report.error})" if report.error else ""
    return f"{report.name}: {report.delivered} delivered{waiting}{cause}"


@dataclass(frozen=True)
class RunSummary(StreamSummary):
    """A run of one stream and its sinks."""

    sinks: tuple[SinkReport, ...] = ()

    def raise_for_error(self) -> None:
        """Raise what ended the run early, if anything did."""
        if self.error is not None:
            raise self.error

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *map(describe, self.sinks)])
