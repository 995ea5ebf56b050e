"""Ouster sensors: which packets are theirs, where a frame ends, and its points. Through the package ouster-sdk."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.errors import DataError, MissingDependencyError, SourceError
from edge_ad.runtime.scans import Points
from edge_ad.runtime.sources.lidar.options import OusterOptions, OusterPcapOptions
from edge_ad.runtime.sources.lidar.revolutions import Revolution, Sensor, to_scan

PORT = 7502
_FRAMES_AWAY = 50  # frame numbers that jump by more were begun anew by the sensor
_RETURNS = (("RANGE", "REFLECTIVITY"), ("RANGE2", "REFLECTIVITY2"))


def open_sensor(options: OusterOptions | OusterPcapOptions, where: str) -> Sensor:
    """The sensor that `options` describe.

    Raises SourceError for metadata that is missing, damaged, or of a packet format without range and reflectivity;
    MissingDependencyError without ouster-sdk.
    """
    core = _import_core()
    info = _read_metadata(core, options.metadata)
    fields = set(core.LidarFrame(info).fields)
    if not fields.issuperset(_RETURNS[0]):
        raise SourceError(
            f"its packet format {info.format.udp_profile_lidar} holds no range and reflectivity",
            where=options.metadata, hint="set udp_profile_lidar of the sensor to another, e.g. RNG19_RFL8_SIG16_NIR16",
        )  # fmt: skip
    points = partial(_points, core, info, core.XYZLut(info, False), options.intensity_max, where)
    port = info.config.udp_port_lidar or PORT
    return Sensor(info.prod_line or "Ouster sensor", port, OusterSplitter(core, info), points)


class OusterSplitter:
    """Collects packets by the number of their frame."""

    def __init__(self, core: Any, info: Any):
        """info: an `ouster.sdk.core.SensorInfo`."""
        self._format = core.PacketFormat(info)
        self._measurement_id = core.ColHeader.MEASUREMENT_ID
        self._serial = int(info.sn or 0)
        self._columns = int(info.format.columns_per_frame)
        self._expected = int(info.format.lidar_packets_per_frame())
        self._frames = int(self._format.max_frame_id) + 1
        self._packets: dict[
            int, bytes
        ] = {}  # by their first column, so that one that comes twice counts once
        self._frame = -1
        self._ended = -1  # the last frame that was given out
        self._begun = self._gap = False
        self._missed = 0  # packets of whole frames
        self._ts_ns = 0

    def aside(self, packet: bytes) -> bool:
        """Whether it is a packet of the accelerometer, or of zones."""
        size = len(packet)
        return size != self._format.lidar_packet_size and size in (
            self._format.imu_packet_size, self._format.zone_packet_size
        )  # fmt: skip

    def problem(self, packet: bytes) -> str | None:
        """Why it is no packet of this sensor in the format of the metadata."""
        size = self._format.lidar_packet_size
        if len(packet) != size:
            return f"{len(packet)} bytes instead of {size}: take the metadata of the sensor as it is set now"
        raw = np.frombuffer(packet, np.uint8)
        serial = int(self._format.prod_sn(raw))
        if self._serial and serial and serial != self._serial:
            return f"they are of the sensor {serial}, the metadata is of {self._serial}"
        columns = self._format.packet_header(self._measurement_id, raw).astype(np.int64)
        if columns[-1] >= self._columns or (np.diff(columns) != 1).any():
            return f"columns {columns[0]} to {columns[-1]}, the metadata has {self._columns} a turn"
        return None

    def push(self, packet: bytes, ts_ns: int) -> Revolution | None:
        """Take a packet; the frame that is whole with it, or that it ends by being of the next one."""
        raw = np.frombuffer(packet, np.uint8)
        frame = int(self._format.frame_id(raw))
        ended = None
        if frame == self._ended:  # late, or twice
            return None
        if frame != self._frame:
            ended = self._end() if self._packets else None
            self._note_missing(frame)
            self._frame = frame
        column = int(self._format.packet_header(self._measurement_id, raw)[0])
        self._packets[column] = packet
        self._ts_ns = ts_ns
        return self._end() if len(self._packets) == self._expected else ended

    def finish(self) -> Revolution | None:
        """The frame under way."""
        return self._end() if self._packets else None

    def _end(self) -> Revolution:
        count = len(self._packets)
        lost = self._expected - count + self._missed if self._begun else 0
        packets = tuple(self._packets[column] for column in sorted(self._packets))
        ended = Revolution(packets, self._ts_ns, count / self._expected, self._begun, lost, self._gap)
        self._ended = self._frame
        self._packets, self._missed = {}, 0
        self._begun, self._gap = True, False
        return ended

    def _note_missing(self, frame: int) -> None:
        """Whole frames between the last one and this."""
        if self._frame < 0:
            return
        missing = (frame - self._frame - 1) % self._frames
        self._gap = missing > 0
        self._missed = missing * self._expected if missing <= _FRAMES_AWAY else 0


def _points(
    core: Any, info: Any, lut: Any, intensity_max: float, where: str, revolution: Revolution
) -> Points:
    frame, batcher, format_ = core.LidarFrame(info), core.FrameBatcher(info), core.PacketFormat(info)
    for data in revolution.packets:
        packet = core.LidarPacket(format_)
        packet.buf[:] = np.frombuffer(data, np.uint8)
        batcher.batch(packet, frame)
    order = np.argsort(np.argsort(-np.asarray(info.beam_altitude_angles), kind="stable"))
    points, rows = [], []
    for range_field, reflectivity_field in _RETURNS:
        if range_field not in frame.fields:
            continue
        distance = frame.field(range_field)
        row, column = np.nonzero(distance)
        values = frame.field(reflectivity_field)[row, column]
        points.append(np.column_stack((lut(distance)[row, column], values)).astype(np.float32))
        rows.append(order[row])
    if not any(map(len, points)):
        raise DataError("holds no echoes", where=where, hint="check the sensor's window and its cover")
    return to_scan(np.concatenate(points), np.concatenate(rows), intensity_max, where)


def _read_metadata(core: Any, path: Path) -> Any:
    hint = "save it anew: http://SENSOR/api/v1/sensor/metadata, or beside a capture by the recording tool"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise SourceError(f"cannot be read as metadata ({reason})", where=path) from error
    try:
        return core.SensorInfo(text)
    except (RuntimeError, ValueError) as error:
        raise SourceError(f"is no metadata of an Ouster sensor ({error})", where=path, hint=hint) from error


def _import_core() -> Any:
    try:
        from ouster.sdk import core
    except ImportError as error:
        raise MissingDependencyError(
            "Ouster sensors need ouster-sdk", hint="pip install 'edge-ad[ouster]'"
        ) from error
    return core
