"""Receivers of events, chosen by URL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from edge_ad.errors import EdgeAdError, SinkError
from edge_ad.firmware_bridge.ports import DEFAULT_BAUD
from edge_ad.runtime.events import TOPIC_ID
from edge_ad.runtime.sinks.base import Sink
from edge_ad.runtime.sinks.lines import JsonlSink, StdoutSink

__all__ = ["FORMS", "Sink", "open_sink", "open_sinks"]

FORMS = "stdout, jsonl:PATH, mqtt://[user:password@]host[:port][/node], mqtts://…, serial:/dev/ttyUSB0"
_MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}


def open_sink(url: str, *, node: str) -> Sink:
    """Open a sink; `FORMS` and docs/events.md list what `url` may be.

    node: this device's name in MQTT topics, unless the URL gives one. Raises SinkError when the receiver
    cannot be opened or reached, refuses the login, or for another scheme.
    """
    scheme, _, rest = url.partition(":")
    if url == "stdout":
        return StdoutSink()
    if scheme == "jsonl" and rest:
        return JsonlSink(Path(rest))
    if scheme in _MQTT_PORTS:
        return _open_mqtt(url, node)
    if scheme == "serial" and rest:
        return _open_serial(rest)
    raise SinkError(f"unknown kind of sink '{scheme}'", hint=f"try {FORMS}")


def open_sinks(urls: Sequence[str], *, node: str) -> list[Sink]:
    """Open all or none. Raises as `open_sink` does."""
    sinks: list[Sink] = []
    try:
        for url in urls:
            sinks.append(open_sink(url, node=node))
    except EdgeAdError:
        for sink in sinks:
            sink.close()
        raise
    return sinks


def _open_mqtt(url: str, node: str) -> Sink:
    from edge_ad.runtime.sinks.mqtt import MqttSink

    where = re.sub(r"(?<=://)[^/@]*@", "", url)
    try:
        parts = urlsplit(url)
        port = parts.port or _MQTT_PORTS[parts.scheme]
        query = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise SinkError(f"is no MQTT address ({error})", where=where, hint=f"try {FORMS}") from error
    if not parts.hostname or not query.keys() <= {"ca"}:
        raise SinkError("is no MQTT address", where=where, hint="mqtts://host:port/node?ca=FILE")
    node = parts.path.strip("/") or node
    if not re.fullmatch(TOPIC_ID, node):
        raise SinkError(
            f"the node name '{node}' does not fit into an MQTT topic",
            where=where,
            hint="use letters, digits, '.', '_' and '-'",
        )
    return MqttSink(
        parts.hostname,
        port,
        node=node,
        username=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        tls=parts.scheme == "mqtts",
        ca=query.get("ca", [None])[0],
    )


def _open_serial(rest: str) -> Sink:
    """`rest`: a device file or pyserial URL, our options `baud` and `format` among those of its query."""
    from edge_ad.runtime.sinks.serial_line import SerialSink

    port, _, query = rest.partition("?")
    options = dict(item.partition("=")[::2] for item in query.split("&") if item)
    baud, format_ = options.pop("baud", str(DEFAULT_BAUD)), options.pop("format", "json")
    where = f"serial:{rest}"
    if not (baud.isascii() and baud.isdigit()):
        raise SinkError(f"'{baud}' is no baud rate", where=where, hint="e.g. ?baud=115200")
    if options:
        port += "?" + "&".join(key if value == "" else f"{key}={value}" for key, value in options.items())
    if format_ == "json":
        return SerialSink(port, baud=int(baud), format="json")
    if format_ == "link":
        return SerialSink(port, baud=int(baud), format="link")
    raise SinkError(f"unknown format '{format_}'", where=where, hint="json or link")
