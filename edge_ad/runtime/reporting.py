"""From records to receivers: the outbox and the couriers of all sinks of a device."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from edge_ad.errors import EdgeAdError
from edge_ad.runtime.notes import Crop, Note
from edge_ad.runtime.outbox.courier import BACKOFF_S, Courier, SinkReport
from edge_ad.runtime.outbox.queue import Outbox
from edge_ad.runtime.sinks.base import DeviceInfo, OnCommand, Sink

log = logging.getLogger(__name__)


class Reporting:
    """All sinks of a device, and the outbox that they are served from. Safe to use from any thread."""

    def __init__(
        self, outbox: Outbox, sinks: Sequence[Sink], *, drain_s: float = 5.0, close_s: float = 6.0,
        backoff_s: tuple[float, float] = BACKOFF_S,
    ):  # fmt: skip
        """drain_s, close_s: how long `close` lets sinks catch up, and then finish. backoff_s: as of Courier."""
        self.outbox = outbox
        self._drain_s = drain_s
        self._close_s = close_s
        self.couriers = [Courier(sink, outbox, backoff_s=backoff_s) for sink in sinks]

    def start(self, device: DeviceInfo, on_command: OnCommand | None = None) -> None:
        """Begin to deliver.

        With an outbox in memory every sink has to work at the start, since what waits would not survive: raises its
        SinkError otherwise. A durable one waits for nobody.
        """
        for courier in self.couriers:
            courier.on_command = on_command
            courier.sink.introduce(device, on_command)
        try:
            for courier in self.couriers:
                if not self.outbox.durable:
                    courier.connect()
        except EdgeAdError:
            for courier in self.couriers:
                courier.sink.close()
            raise
        for courier in self.couriers:
            courier.start()

    def introduce(self, device: DeviceInfo) -> None:
        """Streams have come: have every sink know."""
        for courier in self.couriers:
            courier.introduce(device)

    def note(self, note: Note) -> None:
        """Have every sink show a note."""
        for courier in self.couriers:
            courier.note(note)

    def crop(self, crop: Crop) -> None:
        """Have every sink pass on a picture."""
        for courier in self.couriers:
            courier.crop(crop)

    def reports(self) -> tuple[SinkReport, ...]:
        """How the sinks do."""
        return tuple(courier.report() for courier in self.couriers)

    def close(self) -> tuple[SinkReport, ...]:
        """Commit, let all sinks catch up and close, side by side and within the limits; how each of them did. The
        outbox stays open."""
        now = time.monotonic()
        self.outbox.flush(self._drain_s)
        for courier in self.couriers:
            courier.finish(now + self._drain_s)
        for courier in self.couriers:
            courier.join(max(0.0, now + self._drain_s + self._close_s - time.monotonic()))
        reports = self.reports()
        for report in reports:
            if report.lost or report.stuck:
                cause = f" ({report.error})" if report.error else " (it is stuck)" if report.stuck else ""
                log.warning("%s: %d records were not delivered%s", report.name, report.lost, cause)
        return reports
