"""A snapshot as Prometheus reads it (text format; names: docs/station.md). Needs the extra `metrics`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edge_ad.errors import MissingDependencyError
from edge_ad.runtime.operations.snapshot import Snapshot, StreamView

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(snapshot: Snapshot) -> bytes:
    """The page. Raises MissingDependencyError without prometheus-client."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "metrics need prometheus-client", hint="pip install 'edge-ad[metrics]'"
        ) from error
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(snapshot))
    return bytes(generate_latest(registry))


class _Once:
    """A collector of one snapshot."""

    def __init__(self, snapshot: Snapshot):
        self._snapshot = snapshot

    def collect(self) -> Iterator[Any]:
        """The metrics, as prometheus-client takes them."""
        yield from _of_streams(self._snapshot)
        yield from _of_device(self._snapshot)


def _of_streams(snapshot: Snapshot) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    frames = CounterMetricFamily(
        "edge_ad_frames", "Frames by what became of them.", labels=["stream", "result"]
    )
    latency = HistogramMetricFamily(
        "edge_ad_inference_seconds", "Preprocessing, network and score of a frame.", labels=["stream"]
    )
    build = GaugeMetricFamily("edge_ad_build_info", "What judges the stream; always 1.",
                              labels=["stream", "bundle", "version"])  # fmt: skip
    counters = {
        name: CounterMetricFamily(f"edge_ad_{name}", text, labels=["stream"])
        for name, text in _COUNTERS.items()
    }
    gauges = {
        name: GaugeMetricFamily(f"edge_ad_{name}", text, labels=["stream"]) for name, text in _GAUGES.items()
    }
    for view in snapshot.streams:
        stream = view.health.stream
        build.add_metric([stream, view.bundle, snapshot.version], 1)
        for result, count in _results(view).items():
            frames.add_metric([stream, result], count)
        for name, value in _counts(view).items():
            counters[name].add_metric([stream], value)
        for name, level in _levels(view).items():
            if level is not None:
                gauges[name].add_metric([stream], level)
        if view.latency is not None:
            latency.add_metric([stream], view.latency.cumulative(), view.latency.total_s)
    yield from (frames, latency, build, *counters.values(), *gauges.values())


_COUNTERS = {
    "events": "Events begun.",
    "dropped_frames": "Frames of a live source that a newer one replaced.",
    "gaps": "Times that samples were missing.",
}
_GAUGES = {
    "score": "Score of the last frame.",
    "threshold": "Score above which a frame is anomalous.",
    "score_drift_distance": "Kolmogorov-Smirnov distance of the scores from those of the calibration.",
    "stream_online": "1 while the source gives samples.",
    "stream_paused": "1 while a command holds the stream.",
}


def _results(view: StreamView) -> dict[str, int]:
    health = view.health
    if health.frames is None:  # of a bridge, which sees none
        return {"unreadable": health.unreadable}
    anomalous = health.anomalous or 0
    return {
        "normal": health.frames - anomalous - health.uncertain,
        "uncertain": health.uncertain,
        "anomalous": anomalous,
        "unreadable": health.unreadable,
    }


def _counts(view: StreamView) -> dict[str, int]:
    return {"events": view.health.events, "dropped_frames": view.health.dropped, "gaps": view.health.gaps}


def _levels(view: StreamView) -> dict[str, float | None]:
    return {
        "score": view.score,
        "threshold": view.threshold,
        "score_drift_distance": view.health.distance,
        "stream_online": view.health.online,
        "stream_paused": view.health.paused,
    }


def _of_device(snapshot: Snapshot) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    outbox = snapshot.outbox
    yield GaugeMetricFamily(
        "edge_ad_outbox_depth", "Records that some receiver has not confirmed.", value=outbox.depth
    )
    lost = CounterMetricFamily(
        "edge_ad_outbox_lost", "Records dropped because the outbox was full.", labels=["kind"]
    )
    lost.add_metric(["event"], outbox.lost_events)
    lost.add_metric(["score"], outbox.lost_scores)
    yield lost
    connected = GaugeMetricFamily(
        "edge_ad_sink_connected", "1 while the receiver can be reached.", labels=["sink"]
    )
    delivered = CounterMetricFamily(
        "edge_ad_sink_delivered", "Records that it has confirmed.", labels=["sink"]
    )
    failures = CounterMetricFamily("edge_ad_sink_failures", "Attempts that failed.", labels=["sink"])
    for sink in snapshot.sinks:
        connected.add_metric([sink.name], sink.connected)
        delivered.add_metric([sink.name], sink.delivered)
        failures.add_metric([sink.name], sink.failures)
    yield from (connected, delivered, failures)
