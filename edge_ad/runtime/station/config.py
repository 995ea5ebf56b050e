"""The station file: what may stand in it, read with messages that name the key."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from edge_ad.bundle.manifest import Finite, Label
from edge_ad.errors import StationError, UsageError
from edge_ad.firmware_bridge.ports import DEFAULT_BAUD
from edge_ad.runtime.decision import DecisionConfig
from edge_ad.runtime.events import TopicId
from edge_ad.runtime.operations.http import parse_address

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_STREAMS = 64


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BoardTable(_Table):
    """Where a bundle for a microcontroller runs: an emulated board's address, or the serial port of a real one."""

    address: str | None = None
    port: str | None = None
    baud: Annotated[int, Field(gt=0)] = DEFAULT_BAUD

    @model_validator(mode="after")
    def _one_of_both(self) -> BoardTable:
        if (self.address is None) == (self.port is None):
            raise ValueError("give either 'address' or 'port'")
        return self


class MajorityTable(_Table):
    """correlation: channels move together when the absolute value of their rank correlation is at least this."""

    correlation: Annotated[float, Field(gt=0, le=1)] = 0.8


class StreamTable(_Table):
    """One stream: a bundle that judges a source.

    bundle: `dir:FOLDER` (what flash made live there) or a .edgead file. threshold: in place of the bundle's own.
    stall_s: a live source that is silent for so long is opened anew. keep_scores: every so many frames a score goes
    through the outbox like an event; 0: none do. crops: JPEG pictures of what is anomalous, for sinks that take them.
    majority: only what several channels that move together say counts. require_signature: files of public keys, one of
    which must have signed the bundle (one may be given as it is). require_provider: what has to run all of the network.
    decision: as `DecisionConfig`; `release` defaults to 0 for folders of images and to 3 for everything else.
    """

    name: TopicId
    bundle: str
    source: str
    target: Label | None = None
    threads: Annotated[int, Field(gt=0)] | None = None
    board: BoardTable | None = None
    threshold: Finite | None = None
    stall_s: Annotated[float, Field(gt=0)] = 10.0
    keep_scores: Annotated[int, Field(ge=0)] = 0
    crops: bool = False
    majority: MajorityTable | None = None
    require_signature: list[str] = []
    require_provider: Literal["tensorrt", "cuda", "cpu"] | None = None
    decision: dict[str, Any] = {}

    @field_validator("require_signature", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _rules(self) -> StreamTable:
        known = DecisionConfig.__dataclass_fields__
        for key in self.decision:
            if key not in known:
                raise ValueError(f"decision.{key}: unknown key{_similar(key, list(known))}")
        return self


class SinkTable(BaseModel):
    """A sink by URL; further keys are its options, as they may also stand in the URL's query."""

    model_config = ConfigDict(frozen=True, extra="allow")

    url: str

    @property
    def options(self) -> dict[str, Any]:
        """The further keys."""
        return dict(self.model_extra or {})


class OutboxTable(_Table):
    """max_mb: of the file. commit_ms: how long a record may wait in memory for others to be written with it."""

    max_mb: Annotated[float, Field(ge=0.25, le=100_000)] = 64.0
    commit_ms: Annotated[float, Field(ge=0, le=60_000)] = 50.0


class StationConfig(_Table):
    """The whole file.

    node: the device's name, by default its host name. state: folder of the outbox and of what streams go on from after
    a restart; by default the one that systemd gives (STATE_DIRECTORY), else nothing is kept. health_s: how often a
    stream's health is told. http: address at which `/health` and `/metrics` answer.
    """

    node: TopicId | None = None
    state: Path | None = None
    health_s: Annotated[float, Field(gt=0)] = 60.0
    http: str | None = None
    outbox: OutboxTable = OutboxTable()
    stream: Annotated[list[StreamTable], Field(min_length=1, max_length=MAX_STREAMS)]
    sink: list[SinkTable] = []

    @field_validator("http")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_address(value)
            except UsageError as error:
                raise ValueError(str(error)) from error
        return value

    @model_validator(mode="after")
    def _names_differ(self) -> StationConfig:
        names = [stream.name for stream in self.stream]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two streams are called '{name}'")
        urls = [sink.url for sink in self.sink]
        for url in urls:
            if urls.count(url) > 1:
                raise ValueError("two sinks have the same url")
        return self


def read_station(path: Path) -> StationConfig:
    """Read a station file. Raises StationError that names line or key and what to try."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StationError("there is no such file", where=path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise StationError(f"cannot be read ({error})", where=path) from error
    except tomllib.TOMLDecodeError as error:
        raise StationError(f"is no TOML: {error}", where=path) from error
    with checked(str(path)):
        return StationConfig.model_validate(data)


@contextmanager
def checked(where: str) -> Iterator[None]:
    """What a model refuses, as a StationError that names the key."""
    try:
        yield
    except ValidationError as error:
        found = error.errors(include_url=False)
        first = next(
            (e for e in found if e["type"] == "extra_forbidden"), found[0]
        )  # a misspelt key is also missing
        raise StationError(_message(first), where=where, hint="docs/station.md lists all keys") from error


_TABLES: dict[str, type[BaseModel]] = {
    "": StationConfig, "outbox": OutboxTable, "stream": StreamTable, "board": BoardTable, "sink": SinkTable,
    "majority": MajorityTable,
}  # fmt: skip


def _message(error: Any) -> str:
    """`stream[1].sauce: unknown key; did you mean 'source'?`"""
    key = ""
    for part in error["loc"]:
        key += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if key else str(part)
    tables = [part for part in error["loc"][:-1] if part in _TABLES]
    table = _TABLES[str(tables[-1]) if tables else ""]
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key{_similar(str(error['loc'][-1]), list(table.model_fields))}"
    if error["type"] == "missing":
        return f"{key}: is missing"
    text = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    shown = (
        f", not {given!r}"
        if isinstance(given, (str, int, float, bool)) and error["type"] != "value_error"
        else ""
    )
    return f"{key}: {text}{shown}" if key else text


def _similar(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"
