"""Receivers of events, chosen by URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_ad.errors import SinkError
from edge_ad.runtime.sinks.base import Sink

__all__ = ["FORMS", "Sink", "open_sink", "open_sinks"]

FORMS = "stdout, jsonl:PATH, mqtt://[user:password@]host[:port][/node], mqtts://…, serial:/dev/ttyUSB0, webhook+https://…"


def open_sink(url: str, *, node: str, options: Mapping[str, Any] | None = None) -> Sink:
    """Open a sink; `FORMS` and docs/events.md list what `url` may be. Its receiver is not contacted yet.

    node: this device's name in MQTT topics, unless the URL gives one. options: the same as in the URL's query, as a
    station file gives them. Raises SinkError for another scheme, an option that cannot be, and for what the sink needs
    on this device (a file, a certificate) and cannot use.
    """
    scheme = url.partition(":")[0]
    options = dict(options or {})
    if url == "stdout":
        from edge_ad.runtime.sinks.lines import StdoutSink

        return StdoutSink()
    if scheme == "jsonl":
        from edge_ad.runtime.sinks.lines import open_jsonl

        return open_jsonl(url, options)
    if scheme in ("mqtt", "mqtts"):
        from edge_ad.runtime.sinks.mqtt import open_mqtt

        return open_mqtt(url, node=node, options=options)
    if scheme == "serial":
        from edge_ad.runtime.sinks.serial_line import open_serial

        return open_serial(url, options)
    if scheme in ("webhook+http", "webhook+https", "http", "https"):
        from edge_ad.runtime.sinks.webhook import open_webhook

        return open_webhook(url, options)
    raise SinkError(f"unknown kind of sink '{scheme}'", hint=f"try {FORMS}")


def open_sinks(urls: Sequence[str], *, node: str) -> list[Sink]:
    """Open all or none. Raises as `open_sink` does, and for two sinks of one name."""
    sinks: list[Sink] = []
    try:
        for url in urls:
            sink = open_sink(url, node=node)
            sinks.append(sink)
            if sink.name in {other.name for other in sinks[:-1]}:
                raise SinkError("is given twice", where=sink.name, hint="leave one out")
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    return sinks
