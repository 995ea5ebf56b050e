"""The loop on a device for one stream: source, network, decision, sinks. Several: `edge_ad.runtime.station`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import fields

from edge_ad import __version__
from edge_ad.runtime.decision import Decision
from edge_ad.runtime.events import EventWriter
from edge_ad.runtime.localise import Locate
from edge_ad.runtime.outbox.queue import Outbox
from edge_ad.runtime.reporting import Reporting
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.scorer import Scored, Scorer
from edge_ad.runtime.sinks.base import DeviceInfo, Sink
from edge_ad.runtime.sources.base import Source
from edge_ad.runtime.stream.judge import Judge, Result
from edge_ad.runtime.stream.stream import OneStage, Stream
from edge_ad.runtime.stream.summary import RunSummary, StreamSummary

__all__ = ["Result", "RunSummary", "run_stream"]

_STOP_POLL_S = 0.1


def run_stream(
    source: Source, infer: Scorer | Callable[[Sample], Scored], decision: Decision, sinks: Sequence[Sink], *,
    stream: str, bundle: str, stop: threading.Event | None = None, locate: Locate | None = None,
    boot_id: str | None = None, on_result: Callable[[Result], None] | None = None, drain_s: float = 5.0,
    close_s: float = 6.0,
) -> RunSummary:  # fmt: skip
    """Judge a source's samples until it ends or `stop` is set, and tell the sinks; then close source and sinks.

    stream: its name in events and topics. bundle: the digest of the bundle that `infer` runs. locate: where an
    anomaly is (`edge_ad.runtime.localise.locator`). boot_id: this run's identity, random by default.
    on_result: called with every judged frame. drain_s, close_s: how long sinks may take at the end to catch up, and
    then to finish.

    Records wait for their receivers in memory. An input that `infer` refuses with DataError is logged and counted. Any
    other EdgeAdError of source or `infer` ends the run in good order and stands in the summary's `error` (see
    `raise_for_error`). However the run ends, an open event is ended and the sinks are given their time to deliver.
    Raises SinkError for a sink that does not work at the start.
    """
    rejection = decision.rejection
    band = None if rejection is None else (rejection.lower, rejection.upper)
    writer = EventWriter(stream, threshold=decision.threshold, bundle=bundle, boot_id=boot_id, band=band)
    outbox = Outbox(None, [sink.name for sink in sinks])
    reporting = Reporting(outbox, sinks, drain_s=drain_s, close_s=close_s)
    judge = Judge(decision, writer, outbox, reporting.note, origin="", live=source.live, locate=locate)
    stages = infer if isinstance(infer, Scorer) else OneStage(infer)
    stop = stop or threading.Event()
    running = Stream(stream, source, stages, judge, on_result=on_result, stop=stop)
    finished = threading.Event()
    threading.Thread(target=_stop_with, args=(running, stop, finished), daemon=True).start()
    try:
        reporting.start(DeviceInfo(stream, __version__, ()))
        try:
            summary = running.run()
        finally:
            reports = reporting.close()
    finally:
        finished.set()
        source.close()
        outbox.close()
    kept = {field.name: getattr(summary, field.name) for field in fields(StreamSummary)}
    return RunSummary(**kept, sinks=reports)


def _stop_with(running: Stream, stop: threading.Event, finished: threading.Event) -> None:
    while not finished.wait(_STOP_POLL_S):
        if stop.is_set():
            running.stop()
            return
