"""An MQTT address and its options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import Field

from edge_ad.errors import SinkError
from edge_ad.runtime.events import TOPIC_ID
from edge_ad.runtime.sinks.options import SinkOptions, read_options

PORTS = {"mqtt": 1883, "mqtts": 8883}
_FORM = "mqtt://[user:password@]host[:port][/node][?option=value]"

Seconds = Annotated[float, Field(gt=0, le=86400)]


class MqttOptions(SinkOptions):
    """How a broker is spoken to.

    username, password, password_file: login, also in the URL. ca: file of the authorities that are trusted, in place of
    the system's. cert, key: files of the client's own certificate. keepalive_s: the broker publishes the last will 1.5
    times this after the last sign of life. ack: an event is confirmed by a consumer, and not by the broker; ack_window:
    events that may wait for that at a time; ack_timeout_s: after which they are sent again. score_interval_s: a
    stream's scores are published at most so often. discovery: prefix of Home Assistant's discovery. crops: pictures.
    """

    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    password_file: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    keepalive_s: Annotated[int, Field(gt=0, le=3600)] = 30
    connect_timeout_s: Seconds = 5.0
    ack: bool = False
    ack_window: Annotated[int, Field(gt=0, le=1000)] = 1
    ack_timeout_s: Seconds = 10.0
    scores: bool = True
    score_interval_s: Annotated[float, Field(ge=0)] = 1.0
    discovery: Annotated[str, Field(pattern=r"^[A-Za-z0-9_/-]+$")] | None = None
    crops: bool = False


@dataclass(frozen=True)
class Address:
    """Where a broker is, who we are there, and how it is spoken to. name: without login."""

    host: str
    port: int
    tls: bool
    node: str
    options: MqttOptions

    @property
    def name(self) -> str:
        """As shown to the user, never with a login; the same after a restart."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}/{self.node}"


def read_address(url: str, *, node: str, keys: Mapping[str, Any] | None = None) -> Address:
    """`mqtt://[user:password@]host[:port][/node][?option=value]`, and options as keys. Raises SinkError."""
    where = re.sub(r"(?<=://)[^/@]*@", "", url).partition("?")[0]
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS[parts.scheme]
    except (ValueError, KeyError) as error:
        raise SinkError(f"is no MQTT address ({error})", where=where, hint=_FORM) from error
    if not parts.hostname:
        raise SinkError("is no MQTT address", where=where, hint=_FORM)
    options = read_options(MqttOptions, parts.query, keys, where=where)
    if parts.username is not None:
        login = {"username": unquote(parts.username)}
        if parts.password is not None:
            login["password"] = unquote(parts.password)
        options = options.model_copy(update=login)
    if options.password_file is not None:
        options = options.model_copy(update={"password": _secret(options.password_file)})
    tls = parts.scheme == "mqtts"
    if not tls and (options.ca or options.cert or options.key):
        raise SinkError("certificates need mqtts://", where=where)
    if (options.key is not None) and options.cert is None:
        raise SinkError("option 'key' needs 'cert'", where=where)
    node = parts.path.strip("/") or node
    if not re.fullmatch(TOPIC_ID, node):
        raise SinkError(
            f"the node name '{node}' does not fit into an MQTT topic",
            where=where,
            hint="use letters, digits, '.', '_' and '-'",
        )
    return Address(parts.hostname, port, tls, node, options)


def _secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SinkError(f"the password cannot be read ({error})", where=path) from error
