"""The rig file: read, checked, with messages that name table and key."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from edge_ad.errors import RigError
from edge_ad.rig import tables
from edge_ad.rig.tables import BundleTable, CheckTable, DeviceTable, Name, Table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

AnyDevice = Annotated[
    tables.QemuTable
    | tables.PosixTable
    | tables.SerialTable
    | tables.MlperfTable
    | tables.LabgridTable
    | tables.SshTable,
    Field(discriminator="kind"),
]


class ChecksTable(Table):
    """What must hold, in the order in which it is checked. What is not named is not checked; of none named, live and
    parity are."""

    live: tables.LiveCheck | None = None
    parity: tables.ParityCheck | None = None
    scores: tables.ScoresCheck | None = None
    budget: tables.BudgetCheck | None = None
    link: tables.LinkCheck | None = None
    endurance: tables.EnduranceCheck | None = None
    power: tables.PowerCheck | None = None
    accuracy: tables.AccuracyCheck | None = None
    performance: tables.PerformanceCheck | None = None

    @property
    def named(self) -> dict[str, CheckTable]:
        """By name, those that are there."""
        found = {name: getattr(self, name) for name in type(self).model_fields if getattr(self, name)}
        return found or {"live": tables.LiveCheck(), "parity": tables.ParityCheck()}


class RigTable(Table):
    """The whole file. name: in results; by default the file's."""

    name: Name | None = None
    device: Annotated[list[AnyDevice], Field(min_length=1)]
    bundle: Annotated[list[BundleTable], Field(min_length=1)]
    checks: ChecksTable = ChecksTable()

    @model_validator(mode="after")
    def _names_differ(self) -> RigTable:
        for what, rows in (("devices", self.device), ("bundles", self.bundle)):
            names = [row.name for row in rows]  # type: ignore[attr-defined]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"two {what} are called '{name}'")
        return self

    @model_validator(mode="after")
    def _names_are_known(self) -> RigTable:
        known = {"devices": [d.name for d in self.device], "bundles": [b.name for b in self.bundle]}
        rows: list[tuple[str, Any]] = [(f"bundle '{b.name}'", b) for b in self.bundle]
        rows += [(f"checks.{name}", check) for name, check in self.checks.named.items()]
        for where, row in rows:
            for key in known:
                for name in getattr(row, key, None) or []:
                    if name not in known[key]:
                        raise ValueError(f"{where}: {key}: there is no '{name}'{_similar(name, known[key])}")
        return self


@dataclass(frozen=True)
class Rig:
    """A rig file. folder: what its paths are relative to."""

    path: Path
    folder: Path
    name: str
    devices: tuple[DeviceTable, ...]
    bundles: tuple[BundleTable, ...]
    checks: ChecksTable

    def resolve(self, path: Path) -> Path:
        """A path of the file, from where we are."""
        return self.folder / path.expanduser()


def load_rig(path: Path) -> Rig:
    """Read a rig file. Raises RigError that names line or table and key, and what to try."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RigError("there is no such file", where=path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RigError(f"cannot be read ({error})", where=path) from error
    except tomllib.TOMLDecodeError as error:
        raise RigError(f"is no TOML: {error}", where=path) from error
    with _checked(data, str(path)):
        table = RigTable.model_validate(data)
    return Rig(
        path,
        path.absolute().parent,
        table.name or path.stem,
        tuple(table.device),
        tuple(table.bundle),
        table.checks,
    )


@contextmanager
def _checked(data: dict[str, Any], where: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        found = error.errors(include_url=False)
        # A misspelt key is also missing.
        first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
        raise RigError(_message(first, data), where=where, hint="docs/rigs.md lists all keys") from error


def _message(error: Any, data: dict[str, Any]) -> str:
    """`device[2].machne: unknown key; did you mean 'machine'?`"""
    loc, model = _place(error["loc"], data)
    key = ""
    for part in loc:
        key += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if key else str(part)
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key{_similar(str(loc[-1]), list(model.model_fields) if model else [])}"
    if error["type"] == "missing":
        return f"{key}: is missing"
    if error["type"].startswith("union_tag"):
        kinds = ", ".join(sorted(_kinds()))
        return f"{key}.kind: {'is missing' if error['type'].endswith('not_found') else 'is unknown'}; known: {kinds}"
    text = str(error["msg"]).removeprefix("Value error, ")
    given, plain = error.get("input"), error["type"] != "value_error"
    shown = f", not {given!r}" if plain and isinstance(given, (str, int, float, bool)) else ""
    return f"{key}: {text}{shown}" if key else text


def _kinds() -> dict[str, type[BaseModel]]:
    union = AnyDevice.__origin__  # type: ignore[attr-defined]
    return {model.model_fields["kind"].annotation.__args__[0]: model for model in union.__args__}


def _place(loc: tuple[Any, ...], data: dict[str, Any]) -> tuple[list[Any], type[BaseModel] | None]:
    """The keys that lead to an error, without the names of union members, and the table that the last one is of."""
    places: list[Any] = []
    model: Any = RigTable
    for part in loc:
        kinds = _kinds()
        if places[:1] == ["device"] and len(places) == 2 and part in kinds:
            model = kinds[part]
            continue
        places.append(part)
    for part in places[:-1] if model is RigTable else places[2:-1]:
        model = _table_of(model, part)
    return places, model


def _table_of(model: Any, key: Any) -> Any:
    """The table that a key holds, of a model; rows of a list are of the list's table."""
    if isinstance(key, int) or model is None:
        return model
    field = getattr(model, "model_fields", {}).get(key)
    found = [] if field is None else _models(field.annotation)
    return found[0] if found else None


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]


def _similar(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"
