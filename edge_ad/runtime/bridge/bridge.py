"""The bridge: all ports, as they come and go, one outbox, all sinks."""

from __future__ import annotations

import glob
import logging
import os
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_ad import __version__
from edge_ad.errors import UsageError
from edge_ad.firmware_bridge.ports import DEFAULT_BAUD
from edge_ad.runtime.bridge.carrier import BACKOFF_S, PREFIX, Carrier, PortReport
from edge_ad.runtime.bridge.origin import Origin, Registry
from edge_ad.runtime.bridge.wire import WireFormat
from edge_ad.runtime.operations.http import MonitorServer
from edge_ad.runtime.operations.notify import Notifier
from edge_ad.runtime.operations.snapshot import Snapshot
from edge_ad.runtime.outbox.courier import SinkReport
from edge_ad.runtime.outbox.queue import Limits, Outbox
from edge_ad.runtime.reporting import Reporting
from edge_ad.runtime.sinks import open_sink
from edge_ad.runtime.sinks.base import Command, DeviceInfo, Sink, StreamInfo
from edge_ad.runtime.state_folder import OUTBOX, locked
from edge_ad.runtime.stream.summary import describe

log = logging.getLogger(__name__)

_JOIN_S = 3.0
_ALIVE_S = 60.0  # a port that is tried again gets on at least so often
_MANAGER = "bridge"  # in the eyes of the watchdog


@dataclass(frozen=True)
class PortPattern:
    """Ports to listen to: a device file, a pattern of such (`/dev/ttyACM*`), or a pyserial URL. label: stands before
    the names of its streams."""

    pattern: str
    label: str | None = None

    @property
    def is_url(self) -> bool:
        """Whether it is no path."""
        return "://" in self.pattern

    def found(self) -> list[str]:
        """The ports that are there now. One that is named in full is always listened to."""
        if self.is_url or not glob.has_magic(self.pattern):
            return [self.pattern]
        return sorted(glob.glob(self.pattern))  # noqa: PTH207 - an absolute pattern, which pathlib does not take


@dataclass(frozen=True)
class BridgeConfig:
    """node: in topics. sinks: URLs. state: folder of the outbox; None keeps all in memory. http: address
    at which `/health` and `/metrics` answer. scan_s: how often it is
    looked for new ports. health_s: how often the streams' health is told."""

    node: str
    ports: tuple[PortPattern, ...]
    sinks: tuple[str, ...]
    baud: int = DEFAULT_BAUD
    format: WireFormat = "auto"
    state: Path | None = None
    max_mb: float = 64.0
    commit_ms: float = 50.0
    http: str | None = None
    scan_s: float = 1.0
    health_s: float = 60.0
    backoff_s: tuple[float, float] = BACKOFF_S


@dataclass(frozen=True)
class BridgeSummary:
    """What each port and each sink did."""

    ports: tuple[PortReport, ...]
    sinks: tuple[SinkReport, ...]

    def as_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "ports": [asdict(port) for port in self.ports],
            "sinks": [asdict(sink) for sink in self.sinks],
        }

    def __str__(self) -> str:
        lines = [
            f"{port.port}: {port.events} events, {port.duplicates} repeated, {port.missing} numbers missing, "
            f"{port.rejected} frames or lines rejected"
            for port in self.ports
        ]
        return "\n".join(lines + [describe(sink) for sink in self.sinks])


class Bridge:
    """An opened bridge; a context manager that closes all."""

    def __init__(self, config: BridgeConfig):
        """Raises EdgeAdError for sinks or a state folder that cannot be used."""
        self.config = config
        self._notifier = Notifier.from_environment()
        self._stop = threading.Event()
        self._started = False
        self._guard = threading.Lock()
        self._carriers: dict[str, Carrier] = {}
        self._gone: dict[str, PortReport] = {}
        with ExitStack() as opened:
            if config.state is not None:
                opened.enter_context(locked(config.state))
            sinks: list[Sink] = []
            for url in config.sinks:
                sinks.append(open_sink(url, node=config.node))
                opened.callback(self._close_unused, sinks[-1])
            limits = Limits(max_bytes=int(config.max_mb * (1 << 20)), commit_delay_s=config.commit_ms / 1000)
            path = None if config.state is None else config.state / OUTBOX
            self.outbox = Outbox(path, [sink.name for sink in sinks], limits)
            opened.callback(self.outbox.close)
            self._registry = Registry()
            self._origins: dict[str, Origin] = {}
            for key, kept in self.outbox.states().items():
                if key.startswith(PREFIX):
                    self._origin(key.removeprefix(PREFIX)).restore(kept)
            self.reporting = Reporting(self.outbox, sinks)
            self._monitor = None
            if config.http is not None:
                self._monitor = MonitorServer(config.http, self.snapshot)
                opened.callback(self._monitor.close)
            self._opened = opened.pop_all()

    def __enter__(self) -> Bridge:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def stop(self) -> None:
        """End it in good order, from any thread or signal handler."""
        self._stop.set()

    def run(self) -> BridgeSummary:
        """Carry events until `stop`. Raises SinkError for a sink that does not work at the start, where nothing is
        kept."""
        self._started = True
        self._notifier.watch([_MANAGER])
        try:
            self._scan()
            self.reporting.start(self._device(), self.command)
            if self._monitor is not None:
                self._monitor.start()
            health_due = time.monotonic() + self.config.health_s
            while not self._stop.wait(self.config.scan_s):
                self._scan()
                if all(time.monotonic() - carrier.alive_at < _ALIVE_S for carrier in self._all()):
                    self._notifier.progress(_MANAGER)
                if time.monotonic() >= health_due:
                    health_due += self.config.health_s
                    self._tell_health()
        finally:
            self._notifier.stopping()
            carriers = self._all()
            for carrier in carriers:
                carrier.stop()
            for carrier in carriers:
                carrier.join(_JOIN_S)
            reports = self.reporting.close()
            self.outbox.close()
        told = {**self._gone, **{carrier.port: carrier.report() for carrier in carriers}}
        return BridgeSummary(tuple(told.values()), reports)

    def snapshot(self) -> Snapshot:
        """How the device is now."""
        views = tuple(view for carrier in self._all() for view in carrier.views())
        return Snapshot(self.config.node, __version__, views, self.outbox.stats(), self.reporting.reports())

    def command(self, command: Command) -> Mapping[str, Any]:
        """`statistics`, for one stream or all. Raises UsageError for anything else."""
        if command.name != "statistics":
            raise UsageError(f"a bridge does not know the command '{command.name}'", hint="statistics")
        told = {
            name: carrier.show_health(name).model_dump(mode="json", by_alias=True, exclude_none=True)
            for carrier in self._all()
            for name in carrier.report().streams
        }
        if command.stream is None:
            return told
        if command.stream not in told:
            raise UsageError(f"there is no stream '{command.stream}'")
        return told[command.stream]

    def _scan(self) -> None:
        """Listen to ports that have come, leave those that are gone for good."""
        wanted: dict[str, PortPattern] = {}
        devices: set[str] = set()
        for pattern in self.config.ports:
            for port in pattern.found():
                device = port if pattern.is_url else os.path.realpath(port)
                if device not in devices:  # one that has several names is opened once
                    devices.add(device)
                    wanted[port] = pattern
        for port in [port for port in self._carriers if port not in wanted]:
            self._lose(port)
        for port in [port for port in wanted if port not in self._carriers]:
            self._gain(port, wanted[port])

    def _gain(self, port: str, pattern: PortPattern) -> None:
        origin = self._origin(port)
        origin.label = pattern.label
        carrier = Carrier(
            origin, self.outbox, baud=self.config.baud, format=self.config.format, note=self.reporting.note,
            on_streams=lambda: self.reporting.introduce(self._device()), backoff_s=self.config.backoff_s,
        )  # fmt: skip
        with self._guard:
            self._carriers[port] = carrier
        carrier.start()

    def _lose(self, port: str) -> None:
        """The port's device file is gone. What its device has said stays known for when it comes back."""
        with self._guard:
            carrier = self._carriers.pop(port)
        carrier.stop()
        carrier.join(_JOIN_S)
        carrier.show_all()
        self._gone[port] = carrier.report()
        log.warning("unplugged", extra={"port": port})

    def _origin(self, port: str) -> Origin:
        return self._origins.setdefault(port, Origin(port, None, self._registry))

    def _tell_health(self) -> None:
        carriers = self._all()
        reports = [carrier.report() for carrier in carriers]
        for carrier in carriers:
            for name in carrier.report().streams:
                carrier.show_health(name)
        backlog = self.outbox.stats().depth
        self._notifier.status(
            f"{len(reports)} ports, {sum(r.events for r in reports)} events, {backlog} records wait"
        )

    def _all(self) -> list[Carrier]:
        with self._guard:
            return list(self._carriers.values())

    def _device(self) -> DeviceInfo:
        """Who reports: the streams that are known by now."""
        streams = {
            event.stream: StreamInfo(
                event.stream, event.bundle, "edge-ad", "", event.threshold, None, judged_here=False
            )
            for origin in list(self._origins.values())
            for event in list(origin.last.values())
        }
        return DeviceInfo(self.config.node, __version__, tuple(streams.values()))

    def _close_unused(self, sink: Sink) -> None:
        if not self._started:
            sink.close()
