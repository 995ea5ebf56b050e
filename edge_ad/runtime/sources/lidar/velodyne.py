"""Velodyne sensors, through the package velodyne-decoder."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.errors import DataError, MissingDependencyError, SourceError
from edge_ad.runtime.scans import MAX_COORDINATE_M, Points
from edge_ad.runtime.sources.lidar.options import VelodyneOptions, VelodynePcapOptions
from edge_ad.runtime.sources.lidar.revolutions import Revolution, Sensor, to_scan
from edge_ad.runtime.sources.lidar.velodyne_packets import LAYOUTS, Layout, VelodyneSplitter

PORT = 2368


def open_sensor(options: VelodyneOptions | VelodynePcapOptions, where: str) -> Sensor:
    """The sensor that `options` describe.

    Raises SourceError for a model that is unknown or lacks a calibration, and for a calibration that cannot be read;
    MissingDependencyError without velodyne-decoder.
    """
    vd = _import_decoder()
    known = {_plain(name): name for name in vd.Model.__members__ if name in LAYOUTS}
    name = known.get(_plain(options.model))
    if name is None:
        raise SourceError(
            f"unknown model '{options.model}'", where=where, hint=f"known: {', '.join(known.values())}"
        )
    layout = LAYOUTS[name]
    calibration = None if options.calibration is None else _read_calibration(vd, options.calibration, layout)
    if calibration is None and layout.product is None:
        raise SourceError(
            f"{name} needs the calibration of its lasers", where=where,
            hint="add calibration=FILE.yml, e.g. from a capture by velodyne-decoder's extract-hdl64e-calibration",
        )  # fmt: skip
    # min and max of range: by default the decoder drops points nearer than 0.1 m and farther than 200 m
    model = vd.Model.__members__[name]
    config = partial(
        vd.Config, model=model, calibration=calibration, min_range=0.0, max_range=MAX_COORDINATE_M
    )
    points = partial(_points, vd, config, options.intensity_max, where)
    return Sensor(name, PORT, VelodyneSplitter(name, fov=_fov(options.fov, where)), points)


def _points(
    vd: Any, config: Callable[[], Any], intensity_max: float, where: str, revolution: Revolution
) -> Points:
    packets = vd.PacketVector()  # never decoded empty: that crashes the decoder
    for packet in revolution.packets:
        packets.append(vd.VelodynePacket(0.0, packet))
    try:
        # a decoder of its own: it remembers the last packet, and revolutions may have been dropped since
        _, table = vd.ScanDecoder(config()).decode(packets)
    except RuntimeError as error:
        raise DataError(f"cannot be decoded ({error})", where=where) from error
    if not len(table):
        raise DataError("holds no echoes", where=where, hint="check the sensor's window and its cover")
    fields = vd.PointField
    points = np.ascontiguousarray(table[:, [fields.x, fields.y, fields.z, fields.intensity]], np.float32)
    rings = table[:, fields.ring].astype(np.int64)
    return to_scan(points, rings.max() - rings, intensity_max, where)


def _fov(text: str | None, where: str) -> tuple[int, int] | None:
    if text is None:
        return None
    first, last = (int(part) for part in text.split("-"))
    if max(first, last) > 360:
        raise SourceError(f"fov={text} goes beyond 360 degrees", where=where, hint="e.g. fov=270-90")
    return (first * 100, last * 100) if (last - first) % 360 else None


def _read_calibration(vd: Any, path: Path, layout: Layout) -> Any:
    try:
        calibration = vd.Calibration.read(str(path))
    except RuntimeError as error:
        raise SourceError(f"is no calibration that can be read ({error})", where=path) from error
    lasers = len(re.findall(r"\blaser_id:", calibration.to_string()))
    if lasers != layout.lasers:  # the decoder does not check, and reads beyond its table
        raise SourceError(f"holds {lasers} lasers, the sensor has {layout.lasers}", where=path)
    return calibration


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).upper()


def _import_decoder() -> Any:
    try:
        import velodyne_decoder
    except ImportError as error:
        raise MissingDependencyError(
            "Velodyne sensors need velodyne-decoder", hint="pip install 'edge-ad[velodyne]'"
        ) from error
    return velodyne_decoder
