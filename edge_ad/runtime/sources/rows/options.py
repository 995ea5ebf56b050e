"""The options of sources of rows, as they stand in a source's URL or in a station file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from edge_ad.errors import SourceError
from edge_ad.firmware_bridge.ports import DEFAULT_BAUD
from edge_ad.runtime.sources.rows.text import Format

_PORT_OPTIONS = (
    "logging",
    "ign_set_control",
    "poll_modem",
    "timeout",
)  # pyserial's own, of rfc2217:// and others


def _split(value: object) -> object:
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]


class Options(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TextOptions(Options):
    """Rows of text. format: by default told from each line. columns: names of all columns of CSV that has no line of
    names."""

    format: Format | None = None
    columns: Names | None = None


class LinesOptions(TextOptions):
    """Rows of text on a serial line. checksum: `nmea`: lines without a right `*hh` behind them are refused."""

    baud: Annotated[int, Field(gt=0)] = DEFAULT_BAUD
    checksum: Annotated[str, Field(pattern="^nmea$")] | None = None


class LinkOptions(Options):
    """Frames of samples. ask: tell the board to start; without, the device sends of its own accord."""

    baud: Annotated[int, Field(gt=0)] = DEFAULT_BAUD
    ask: bool = True


class MqttOptions(TextOptions):
    """Rows by MQTT. ca: file of trusted certificates instead of the system's. cert, key: files of this client's
    certificate and its key. password_file: its first line is the password. client_id: by default one of its own."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    username: str | None = None
    password_file: str | None = None
    client_id: Annotated[str, Field(min_length=1)] | None = None


Chosen = TypeVar("Chosen", bound=Options)


def read_options(model: type[Chosen], query: str, where: str) -> Chosen:
    """The options in a URL's query. Raises SourceError naming the one that is wrong."""
    return check_options(model, dict(parse_qsl(query, keep_blank_values=True)), where)


def check_options(model: type[Chosen], given: dict[str, Any], where: str) -> Chosen:
    """The options by name. Raises SourceError naming the one that is wrong."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise SourceError(
                f"unknown option '{name}'", where=where, hint=f"known: {', '.join(model.model_fields)}"
            ) from error
        raise SourceError(f"option '{name}': {first['msg']}", where=where) from error


def split_port(rest: str, known: Sequence[str]) -> tuple[str, str]:
    """A device file or pyserial URL with a query, as the port that pyserial takes and the query of the other options.

    known: names of our options: what pyserial knows itself stays with the port.
    """
    port, _, query = rest.partition("?")
    items = [item for item in query.split("&") if item]
    theirs = [i for i in items if i.partition("=")[0] in _PORT_OPTIONS and i.partition("=")[0] not in known]
    ours = [i for i in items if i not in theirs]
    return port + ("?" + "&".join(theirs) if theirs else ""), "&".join(ours)
