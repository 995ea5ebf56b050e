"""Replaying a capture of a LiDAR's packets: every whole revolution comes."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

from edge_ad.errors import DataError, SourceError
from edge_ad.runtime.sample import Position, Sample
from edge_ad.runtime.sources.lidar.pcap import HEADER_BYTES, PcapFile
from edge_ad.runtime.sources.lidar.revolutions import Assembly, Revolution, Sensor
from edge_ad.runtime.sources.replay import Replay

log = logging.getLogger(__name__)

Place = tuple[int, int]  # offset and number of a record


class PcapReplay(Replay):
    """The scans of a pcap file, with the capture's times, as fast as they are taken or at the pace of the capture.

    Revolutions and packets are judged as those of a live sensor; `lost` counts packets that are missing.
    """

    def __init__(
        self, path: Path, sensor: Sensor, *, min_share: float, port: int | None = None, recorded_pace: bool = False,
        clock: Callable[[], float] = time.monotonic, wait: Callable[[float], object] | None = None,
    ):  # fmt: skip
        """port: that packets were sent to, None for the sensor's usual one. clock, wait: seconds; for tests.

        Raises SourceError for a file that is missing or no capture.
        """
        super().__init__(path)
        self.lost = 0
        self._path = path
        self._sensor = sensor
        self._port = port or sensor.port
        self._min_share = min_share
        self._recorded_pace = recorded_pace
        self._closing = threading.Event()
        self._clock = clock
        self._wait = wait or self._closing.wait
        self._start: Place = (HEADER_BYTES, 0)
        self._scan = 0
        self._resumed = False
        self._began: tuple[float, int] | None = None  # by the clock and by the capture
        with PcapFile(path):
            pass

    def resume(self, position: Position) -> None:
        """Go on behind the scan that had this position."""
        try:
            name, *numbers = (position[key] for key in ("file", "offset", "packet", "scan"))
            offset, packet, scan = (int(number) for number in numbers)
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"{position} is no position in a capture", where=self.name) from error
        with PcapFile(self._path) as file:
            is_here = name == self._path.name and min(packet, scan) >= 0 and file.starts_record(offset)
        if not is_here:
            raise SourceError(
                f"{position} is no position in this capture", where=self.name, hint="was the file replaced?"
            )
        self._start, self._scan, self._resumed = (offset, packet), scan, True

    def close(self) -> None:
        """End the iteration, also one that waits for the recorded pace."""
        super().close()
        self._closing.set()

    def _read(self) -> Iterator[Sample]:
        assembly = Assembly(self._sensor, where=self.name, min_share=self._min_share)
        others: Counter[int] = Counter()
        undecodable = 0
        with PcapFile(self._path) as file:
            for revolution, (offset, packet) in self._revolutions(file, assembly, others):
                number, self._scan = self._scan, self._scan + 1
                self.unreadable, self.lost = assembly.unreadable + undecodable, assembly.lost
                try:
                    points = self._sensor.points(revolution)
                except DataError as error:
                    undecodable += 1
                    log.warning("%s: scan %d skipped: %s", self.name, number, error)
                    continue
                self._keep_pace(revolution.ts_ns)
                name = self._path.name
                position: Position = {"file": name, "offset": offset, "packet": packet, "scan": number + 1}
                ts = datetime.fromtimestamp(revolution.ts_ns / 1e9, timezone.utc)
                yield Sample(points, f"{name}#{number}", ts, position, revolution.gap)
            self.unreadable = assembly.unreadable + undecodable + file.incomplete + (file.loss is not None)
            self.lost = assembly.lost
            if not self._closing.is_set():
                self._tell(file, assembly)
        if self._scan == 0 and not self._closing.is_set() and not self._resumed:
            raise self._nothing(assembly, others)

    def _revolutions(
        self, file: PcapFile, assembly: Assembly, others: Counter[int]
    ) -> Iterator[tuple[Revolution, Place]]:
        """Whole revolutions, each with the packet to begin with for going on behind it.

        That is the last one before the packet that ended it: with its azimuth known, the next revolution begins as it
        did here. others: counts datagrams to other ports.
        """
        before = self._start
        packet = self._start[1]
        for datagram in file.datagrams(*self._start):
            if self._closing.is_set():
                return
            packet = datagram.index + 1
            if datagram.port != self._port:
                others[datagram.port] += 1
                continue
            if self._began is None:
                self._began = self._clock(), datagram.ts_ns
            is_sensors, revolution = assembly.push(datagram.data, datagram.ts_ns)
            if revolution is not None:
                yield revolution, before
            if is_sensors:
                before = datagram.offset, datagram.index
        revolution = assembly.finish()
        if revolution is not None:
            yield revolution, (file.end, packet)

    def _keep_pace(self, ts_ns: int) -> None:
        """Wait until as much time has passed as between the first packet and this moment of the capture."""
        if self._recorded_pace and self._began is not None:
            started, first_ns = self._began
            left_s = started + (ts_ns - first_ns) / 1e9 - self._clock()
            if left_s > 0:
                self._wait(left_s)

    def _tell(self, file: PcapFile, assembly: Assembly) -> None:
        """What the capture lacked."""
        if file.loss is not None:
            log.warning("%s: %s; what is before that was played", self.name, file.loss)
        if file.incomplete:
            log.warning(
                "%s: %d datagrams were captured in part only (tcpdump -s 0 takes whole ones)",
                self.name, file.incomplete,
            )  # fmt: skip
        if assembly.lost:
            log.warning("%s: %d packets of the %s are missing", self.name, assembly.lost, self._sensor.name)

    def _nothing(self, assembly: Assembly, others: Counter[int]) -> SourceError:
        name = self._sensor.name
        if assembly.wrong and not assembly.packets:
            what = (
                f"none of {assembly.wrong} packets to port {self._port} is of the {name}: {assembly.problem}"
            )
            return SourceError(what, where=self.name)
        if assembly.packets:
            part = f"{assembly.cut} were not whole" if assembly.cut else "none ended"
            what = f"holds no whole revolution in {assembly.packets} packets of the {name}: {part}"
            return SourceError(what, where=self.name, hint="check the sensor's field of view (fov=START-END)")
        ports = ", ".join(f"{port} ({count})" for port, count in others.most_common(5))
        return SourceError(
            f"holds no packet to UDP port {self._port}", where=self.name,
            hint=f"it has packets to {ports}: add port=…" if ports else "record with: tcpdump -s 0 -w FILE.pcap udp",
        )  # fmt: skip
