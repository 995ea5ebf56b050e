"""Running a station: all its streams side by side, until they end or somebody stops it."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_ad import __version__
from edge_ad.errors import UsageError
from edge_ad.runtime.events import new_boot_id, topic_id
from edge_ad.runtime.operations.http import MonitorServer
from edge_ad.runtime.operations.notify import Notifier
from edge_ad.runtime.operations.snapshot import Snapshot
from edge_ad.runtime.outbox.courier import SinkReport
from edge_ad.runtime.outbox.queue import Limits, Outbox
from edge_ad.runtime.reporting import Reporting
from edge_ad.runtime.sinks import open_sink
from edge_ad.runtime.sinks.base import Command, DeviceInfo, Sink
from edge_ad.runtime.state_folder import OUTBOX, locked, state_folder
from edge_ad.runtime.station.config import StationConfig
from edge_ad.runtime.station.engines import Engines
from edge_ad.runtime.station.running import RunningStream
from edge_ad.runtime.stream.judge import Result
from edge_ad.runtime.stream.summary import StreamSummary, describe

log = logging.getLogger(__name__)

_TICK_S = 0.25


@dataclass(frozen=True)
class StationSummary:
    """What each stream and each sink did."""

    streams: dict[str, StreamSummary]
    sinks: tuple[SinkReport, ...]

    def as_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "streams": {name: summary.as_dict() for name, summary in self.streams.items()},
            "sinks": [asdict(sink) for sink in self.sinks],
        }

    def raise_for_error(self) -> None:
        """Raise what ended the first stream that failed, if any did."""
        for summary in self.streams.values():
            if summary.error is not None:
                raise summary.error

    def __str__(self) -> str:
        several = len(self.streams) > 1
        lines = [f"{name}: {summary}" if several else str(summary) for name, summary in self.streams.items()]
        return "\n".join(lines + [describe(sink) for sink in self.sinks])


class Station:
    """An opened station: bundles checked, engines loaded, sources and sinks open; a context manager that closes all."""

    def __init__(
        self, config: StationConfig, *, retry: bool, board_state: Path | None = None,
        on_result: Callable[[str, Result], None] | None = None,
    ):  # fmt: skip
        """retry: what fails while it runs is opened again for ever; else a stream that fails ends. on_result: called
        with a stream's name and each of its judged frames. Raises EdgeAdError for what cannot be opened."""
        self.config = config
        self.node = config.node or topic_id(socket.gethostname())
        self.boot_id = new_boot_id()
        self.notifier = Notifier.from_environment()
        self._stop = threading.Event()
        self._started = False
        with ExitStack() as opened:
            folder = state_folder(config.state)
            if folder is not None:
                opened.enter_context(locked(folder))
            engines = opened.enter_context(Engines(board_state))
            sinks: list[Sink] = []
            for table in config.sink:
                sinks.append(open_sink(table.url, node=self.node, options=table.options))
                opened.callback(self._close_unused, sinks[-1])
            limits = Limits(
                max_bytes=int(config.outbox.max_mb * (1 << 20)), commit_delay_s=config.outbox.commit_ms / 1000
            )
            path = None if folder is None else folder / OUTBOX
            self.outbox = Outbox(path, [sink.name for sink in sinks], limits)
            opened.callback(self.outbox.close)
            self.reporting = Reporting(self.outbox, sinks)
            self.streams: list[RunningStream] = []
            for stream in config.stream:
                name = stream.name
                hook = None if on_result is None else lambda result, name=name: on_result(name, result)  # type: ignore[misc]
                running = RunningStream(
                    stream, engines, self.reporting, self.boot_id, retry, hook, self.notifier.progress
                )
                self.streams.append(running)
                opened.callback(running.close)
            self._monitor = None
            if config.http is not None:
                self._monitor = MonitorServer(config.http, self.snapshot)
                opened.callback(self._monitor.close)
            self._opened = opened.pop_all()

    def __enter__(self) -> Station:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def stop(self) -> None:
        """End all streams in good order, from any thread or signal handler."""
        self._stop.set()

    def run(self) -> StationSummary:
        """Run all streams until they end or `stop`. Raises SinkError for a sink that does not work at the start, where
        there is no state folder."""
        self.notifier.watch(running.name for running in self.streams)
        self._started = True  # sinks are closed by who delivers to them
        infos = tuple(running.info() for running in self.streams)
        self.reporting.start(DeviceInfo(self.node, __version__, infos), self.command)
        if self._monitor is not None:
            self._monitor.start()
        failures: list[BaseException] = []
        threads = [
            threading.Thread(target=self._run_one, args=(running, failures), name=f"stream {running.name}")
            for running in self.streams
        ]
        try:
            for running, thread in zip(self.streams, threads, strict=True):
                running.tell_availability(running.online, "")
                thread.start()
            self._watch(threads)
        finally:
            self.notifier.stopping()
            for running in self.streams:
                running.stop()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            reports = self.reporting.close()
            # Only now: a run that is cut while the last records are delivered goes on at the end, not at the beginning.
            for running in self.streams:
                if running.stream.ended and not any(report.waiting for report in reports):
                    running.judge.forget()
            self.outbox.close()
        if failures:
            raise failures[0]
        streams = {running.name: running.summary for running in self.streams}
        return StationSummary(
            {name: summary for name, summary in streams.items() if summary is not None}, reports
        )

    def command(self, command: Command) -> Mapping[str, Any]:
        """Carry out a command for one stream, or for all. Raises UsageError for one that is refused."""
        running = [r for r in self.streams if command.stream in (None, r.name)]
        if not running:
            raise UsageError(f"there is no stream '{command.stream}'")
        answers = {r.name: r.command(command.name, dict(command.arguments)) for r in running}
        return answers if command.stream is None else answers[command.stream]

    def snapshot(self) -> Snapshot:
        """How the device is now."""
        return Snapshot(
            self.node, __version__, tuple(running.view() for running in self.streams), self.outbox.stats(),
            self.reporting.reports(),
        )  # fmt: skip

    def _close_unused(self, sink: Sink) -> None:
        if not self._started:
            sink.close()

    def _run_one(self, running: RunningStream, failures: list[BaseException]) -> None:
        try:
            running.run()
            self.notifier.forget(running.name)
        except BaseException as error:  # a fault in the program ends all of it, and is raised by `run`
            failures.append(error)
            self._stop.set()

    def _watch(self, threads: list[threading.Thread]) -> None:
        """Until all streams have ended or `stop`: tell now and then how they fare."""
        due = time.monotonic() + self.config.health_s
        while any(thread.is_alive() for thread in threads) and not self._stop.wait(_TICK_S):
            for running in self.streams:
                if running.stream.idle:
                    self.notifier.progress(running.name)
            if time.monotonic() >= due:
                due += self.config.health_s
                told = [running.tell_health() for running in self.streams]
                frames, events = (
                    sum(health.frames or 0 for health in told),
                    sum(health.events for health in told),
                )
                self.notifier.status(f"{frames} frames, {events} events, {told[0].backlog} records wait")


def check(config: StationConfig) -> list[str]:
    """Open bundles, engines and the files that sinks need, and contact nobody; a line on each stream and sink.

    Raises EdgeAdError for the first thing that would keep the station from running.
    """
    lines = []
    node = config.node or topic_id(socket.gethostname())
    with Engines() as engines:
        for stream in config.stream:
            live = engines.bundle(stream)
            target = stream.target or live.target or ("the board's" if stream.board else None)
            if stream.board is None:
                shared = engines.engine(stream)
                info = shared.engine.describe()
                target = f"{shared.payload.target} on {info.engine} {info.version}, {info.precision}"
            lines.append(
                f"stream {stream.name}: {live.manifest.name} {live.digest[:12]}, {target}, {stream.source}"
            )
    for table in config.sink:
        sink = open_sink(table.url, node=node, options=table.options)
        lines.append(f"sink {sink.name}")
        sink.close()
    folder = state_folder(config.state)
    lines.append(
        "nothing is kept over a restart: no state folder" if folder is None else f"state in {folder}"
    )
    return lines


__all__ = ["Station", "StationSummary", "check"]
