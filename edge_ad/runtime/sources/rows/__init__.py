"""Sensor sources: rows of numbers from a pipe, a serial line, a microcontroller or an MQTT topic, chosen by URL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edge_ad.bundle.manifest import InputSpec
from edge_ad.errors import SourceError
from edge_ad.runtime.sources.base import Source
from edge_ad.runtime.sources.capture import without_login
from edge_ad.runtime.sources.rows.live import Feed, LiveRows, Piece
from edge_ad.runtime.sources.rows.options import (
    LinesOptions,
    LinkOptions,
    MqttOptions,
    TextOptions,
    read_options,
    split_port,
)

__all__ = ["FORMS", "SCHEMES", "Feed", "LiveRows", "Piece", "open_rows"]

SCHEMES = ("stdin", "-", "rows", "lines", "link", "mqtt", "mqtts")
FORMS = "-, stdin:, rows:PIPE, lines:/dev/ttyUSB0?baud=115200, link:/dev/ttyACM0, mqtt://[user:password@]host/topic, mqtts://…"
_MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}


def open_rows(url: str, input: InputSpec, *, stall_s: float) -> Source:
    """Open a source of rows; `FORMS` and docs/series.md list what `url` may be.

    input: what the network takes: windows of a series, or vectors. stall_s: how long a live source may stay silent. A
    live one is one attempt: it raises SourceError when it ends or stalls.

    Raises SourceError when it cannot be opened, for an option that is wrong, and for a network of another modality;
    DataError for named columns that lack a channel.
    """
    where = without_login(url)
    channels, n = _channels(input, where)
    scheme, _, rest = url.partition(":")
    if url.partition("?")[0] in ("-", "stdin:", "stdin"):
        return _open_stdin(url, channels, n, input)
    if scheme == "rows" and rest:
        return _open_pipe(rest, channels, n, input)
    if scheme == "lines" and rest:
        return _open_lines(rest, channels, n, input, stall_s)
    if scheme == "link" and rest:
        return _open_link(rest, n, input, stall_s)
    if scheme in _MQTT_PORTS:
        return _open_mqtt(url, channels, n, input, stall_s)
    raise SourceError("is no source of rows", where=where, hint=f"try {FORMS}")


def _channels(input: InputSpec, where: str) -> tuple[Sequence[str] | None, int]:
    """Names and number of the channels of a row; None for names that do not matter."""
    if input.window is not None:
        return input.window.channels, len(input.window.channels)
    if input.modality == "vector" and len(input.shape) == 2:
        return None, input.shape[1]
    raise SourceError(f"gives rows of numbers, this bundle takes {input.noun}s", where=where)


def _open_stdin(url: str, channels: Sequence[str] | None, n: int, input: InputSpec) -> Source:
    from edge_ad.runtime.sources.rows.streams import open_stdin

    options = read_options(TextOptions, url.partition("?")[2], url)
    return LiveRows("stdin", open_stdin(channels, n, options), input.window, live=False)


def _open_pipe(rest: str, channels: Sequence[str] | None, n: int, input: InputSpec) -> Source:
    from edge_ad.runtime.sources.rows.streams import open_pipe

    path, _, query = rest.partition("?")
    options = read_options(TextOptions, query, f"rows:{rest}")
    return LiveRows(path, open_pipe(Path(path), channels, n, options), input.window, live=False)


def _open_lines(
    rest: str, channels: Sequence[str] | None, n: int, input: InputSpec, stall_s: float
) -> Source:
    from edge_ad.runtime.sources.rows.lines import open_lines

    port, query = split_port(rest, list(LinesOptions.model_fields))
    options = read_options(LinesOptions, query, f"lines:{rest}")
    feed = open_lines(port, channels, n, options, stall_s=stall_s)
    return LiveRows(f"lines:{port}", feed, input.window, live=True)


def _open_link(rest: str, n: int, input: InputSpec, stall_s: float) -> Source:
    from edge_ad.runtime.sources.rows.link import open_link

    port, query = split_port(rest, list(LinkOptions.model_fields))
    options = read_options(LinkOptions, query, f"link:{rest}")
    rate_hz, hop = (None, 1) if input.window is None else (input.window.rate_hz, input.window.hop)
    feed = open_link(port, n, rate_hz, options, hop=hop, stall_s=stall_s)
    return LiveRows(f"link:{port}", feed, input.window, live=True)


def _open_mqtt(url: str, channels: Sequence[str] | None, n: int, input: InputSpec, stall_s: float) -> Source:
    from edge_ad.runtime.sources.rows.mqtt import open_mqtt

    where = without_login(url).partition("?")[0]
    try:
        parts = urlsplit(url)
        port = parts.port or _MQTT_PORTS[parts.scheme]
    except ValueError as error:
        raise SourceError(f"is no MQTT address ({error})", where=where, hint=f"try {FORMS}") from error
    if not parts.hostname or "#" in url:
        raise SourceError("is no MQTT address", where=where, hint="mqtt://host:port/one/topic, no wildcards")
    options = read_options(MqttOptions, parts.query, where)
    if parts.username:
        options = options.model_copy(update={"username": unquote(parts.username)})
    feed = open_mqtt(
        parts.hostname, port, unquote(parts.path.removeprefix("/")), channels, n, options,
        password=None if parts.password is None else unquote(parts.password), tls=parts.scheme == "mqtts",
        stall_s=stall_s,
    )  # fmt: skip
    name = f"{parts.scheme}://{parts.hostname}:{port}{parts.path}"
    return LiveRows(name, feed, input.window, live=True)
