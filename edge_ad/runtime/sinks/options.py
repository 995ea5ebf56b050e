"""Options of sinks, the same in a URL's query and as keys of a station file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, ValidationError

from edge_ad.errors import SinkError

Options = TypeVar("Options", bound="SinkOptions")


class SinkOptions(BaseModel):
    """Frozen, and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def read_options(
    model: type[Options], query: str, keys: Mapping[str, Any] | None = None, *, where: str
) -> Options:
    """The options of a URL's query and of a station file's keys. Raises SinkError that names the one that is wrong."""
    try:
        given = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError as error:
        raise SinkError(
            f"'{query}' are no options", where=where, hint="write them as key=value&key=value"
        ) from error
    for key in keys or {}:
        if key in given:
            raise SinkError(
                f"option '{key}' is given twice", where=where, hint="in the URL or as a key, not both"
            )
    try:
        return model.model_validate({**given, **(keys or {})})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"]))
        text = "unknown" if first["type"] == "extra_forbidden" else first["msg"]
        raise SinkError(
            f"option '{key}': {text}", where=where, hint=f"known: {', '.join(model.model_fields)}"
        ) from error
