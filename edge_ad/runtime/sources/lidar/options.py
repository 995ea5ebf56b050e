"""The options of LiDAR sources, as they stand in a URL's query or in a station's file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_ad.errors import SourceError

MIN_SHARE = 0.98
INTENSITY_MAX = 255.0


class _Options(BaseModel):
    """Options of all LiDAR sources.

    min_share: a revolution is passed on when at least this share of it has arrived. The default lets 7.2 degrees be
        missing, about one column of a detector's range image: a wider hole looks like an anomaly. Angle and not
        packets, because a packet is 4.8 degrees of a VLP-16 and 0.6 degrees of a VLS-128.
    intensity_max: the sensor's value that becomes an intensity of 1.0; 1 leaves the values as the sensor gives them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_share: Annotated[float, Field(gt=0, le=1)] = MIN_SHARE
    intensity_max: Annotated[float, Field(gt=0, allow_inf_nan=False)] = INTENSITY_MAX


class _Velodyne(_Options):
    """model: of the sensor, e.g. VLP16. calibration: YAML file of the lasers' corrections; HDL-64E need theirs, the
    others have one. fov: where the sensor fires, "START-END" in degrees as set in its web page, clockwise."""

    model: str
    calibration: Path | None = None
    fov: Annotated[str, Field(pattern=r"^\d{1,3}-\d{1,3}$")] | None = None


class _Ouster(_Options):
    """metadata: the JSON file that the sensor or a recording tool gives for this sensor."""

    metadata: Path


class _Live(BaseModel):
    """interface: address of the network interface that joins a multicast group; None leaves it to the routes."""

    interface: str | None = None


class _Pcap(BaseModel):
    """pace: as fast as the scans are taken, or as they were recorded. port: that packets were sent to; None is the
    sensor's usual one."""

    pace: Literal["fast", "recorded"] = "fast"
    port: Annotated[int, Field(gt=0, lt=65536)] | None = None


class VelodyneOptions(_Live, _Velodyne):
    """Options of `velodyne://`."""


class OusterOptions(_Live, _Ouster):
    """Options of `ouster://`."""


class VelodynePcapOptions(_Pcap, _Velodyne):
    """Options of `pcap:FILE?model=…`."""


class OusterPcapOptions(_Pcap, _Ouster):
    """Options of `pcap:FILE?metadata=…`."""


Options = TypeVar("Options", bound=BaseModel)


def parse_options(kind: type[Options], query: dict[str, str], where: str) -> Options:
    """`query` as options. Raises SourceError that names the key, and the known ones where it is unknown."""
    try:
        return kind.model_validate(query)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        raise SourceError(
            f"unknown option '{key}'", where=where, hint=f"known: {', '.join(kind.model_fields)}"
        )
    if first["type"] == "missing":
        example = {"model": "model=VLP16", "metadata": "metadata=FILE.json"}.get(key, f"{key}=…")
        raise SourceError(f"the option '{key}' is missing", where=where, hint=f"add ?{example}")
    raise SourceError(f"option '{key}' is '{query[key]}': {first['msg']}", where=where)


def parse_address(url: str, default_port: int) -> tuple[str, int, dict[str, str]]:
    """Address (empty for all of this device's), port and query of `scheme://[address][:port][?key=value]`.

    Raises SourceError.
    """
    try:
        parts = urlsplit(url)
        port = default_port if parts.port is None else parts.port
    except ValueError as error:
        raise SourceError(
            f"is no address ({error})", where=url, hint="e.g. velodyne://:2368?model=VLP16"
        ) from error
    if parts.path.strip("/") or parts.fragment or "@" in parts.netloc:
        raise SourceError(
            "is no address and port", where=url, hint=f"{parts.scheme}://[address]:{port}?key=value"
        )
    return parts.hostname or "", port, parse_query(parts.query, url)


def parse_query(query: str, where: str) -> dict[str, str]:
    """`key=value&…` as a dict. Raises SourceError for text that is no such list, and for a key that comes twice."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise SourceError(
            f"'{query}' is no list of options", where=where, hint="key=value&key=value"
        ) from error
    found = dict(pairs)
    if len(found) < len(pairs):
        raise SourceError("gives an option twice", where=where)
    return found


def split_file(rest: str) -> tuple[Path, str]:
    """`FILE[?query]` as path and query; the file may be percent-encoded."""
    file, mark, query = rest.rpartition("?")
    path = Path(file if mark else rest)
    return path if path.exists() else Path(unquote(str(path))), query if mark else ""
