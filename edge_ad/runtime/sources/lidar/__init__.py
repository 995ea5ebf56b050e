"""LiDAR sensors: live packets over UDP, and captures of them."""

from __future__ import annotations

from pathlib import Path

from edge_ad.bundle.manifest import InputSpec
from edge_ad.errors import SourceError
from edge_ad.runtime.sources.base import Source
from edge_ad.runtime.sources.lidar import ouster, velodyne
from edge_ad.runtime.sources.lidar.options import (
    OusterOptions,
    OusterPcapOptions,
    VelodyneOptions,
    VelodynePcapOptions,
    parse_address,
    parse_options,
    parse_query,
    split_file,
)  # fmt: skip
from edge_ad.runtime.sources.lidar.replay import PcapReplay
from edge_ad.runtime.sources.lidar.udp import LiveLidar, listen

__all__ = [
    "FORMS", "SCHEMES", "LiveLidar", "OusterOptions", "OusterPcapOptions", "PcapReplay", "VelodyneOptions",
    "VelodynePcapOptions", "open_lidar", "open_ouster", "open_pcap", "open_velodyne",
]  # fmt: skip

SCHEMES = ("velodyne", "ouster", "pcap")
FORMS = (
    "velodyne://[address]:2368?model=VLP16, ouster://[address]:7502?metadata=FILE.json, pcap:FILE?model=VLP16, "
    "pcap:FILE?metadata=FILE.json"
)


def open_lidar(url: str, input: InputSpec | None, *, stall_s: float) -> Source:
    """Open a LiDAR, or a capture of one; `FORMS` lists what `url` may be, `docs/scans.md` the options.

    input: what the network takes, which must be scans; None where there is no network. stall_s: how long a live sensor
    may give no whole scan. Raises SourceError, and MissingDependencyError without the sensor's decoder.
    """
    modality = "scan" if input is None else input.modality
    if modality not in ("scan", "vector", "tensor"):
        raise SourceError(
            f"gives scans, this bundle takes {'series' if modality == 'series' else 'images'}", where=url
        )
    scheme, _, rest = url.partition(":")
    if scheme == "velodyne":
        address, port, query = parse_address(url, velodyne.PORT)
        return open_velodyne(address, port, parse_options(VelodyneOptions, query, url), stall_s=stall_s)
    if scheme == "ouster":
        address, port, query = parse_address(url, ouster.PORT)
        return open_ouster(address, port, parse_options(OusterOptions, query, url), stall_s=stall_s)
    if scheme != "pcap":
        raise SourceError(f"'{scheme}' is no LiDAR", where=url, hint=f"try {FORMS}")
    path, text = split_file(rest)
    query = parse_query(text, url)
    if ("model" in query) == ("metadata" in query):
        raise SourceError(
            "says not which sensor was recorded",
            where=url,
            hint="add ?model=VLP16, or ?metadata=FILE.json for Ouster",
        )
    if "model" in query:
        return open_pcap(path, parse_options(VelodynePcapOptions, query, url))
    return open_pcap(path, parse_options(OusterPcapOptions, query, url))


def open_velodyne(address: str, port: int, options: VelodyneOptions, *, stall_s: float) -> LiveLidar:
    """Receive from a Velodyne. address: of this device, a multicast group, or empty for all of this device's."""
    name = f"velodyne://{address}:{port}"
    sensor = velodyne.open_sensor(options, name)
    listener = listen(address, port, interface=options.interface, where=name)
    return LiveLidar(name, sensor, listener, min_share=options.min_share, stall_s=stall_s)


def open_ouster(address: str, port: int, options: OusterOptions, *, stall_s: float) -> LiveLidar:
    """Receive from an Ouster sensor; `address` as in `open_velodyne`."""
    name = f"ouster://{address}:{port}"
    sensor = ouster.open_sensor(options, name)
    listener = listen(address, port, interface=options.interface, where=name)
    return LiveLidar(name, sensor, listener, min_share=options.min_share, stall_s=stall_s)


def open_pcap(path: Path, options: VelodynePcapOptions | OusterPcapOptions) -> PcapReplay:
    """Replay a capture."""
    where = str(path)
    if isinstance(options, VelodynePcapOptions):
        sensor = velodyne.open_sensor(options, where)
    else:
        sensor = ouster.open_sensor(options, where)
    return PcapReplay(
        path, sensor, min_share=options.min_share, port=options.port, recorded_pace=options.pace == "recorded"
    )
