"""Parameter types and output helpers that commands share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from edge_ad.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

errors = Console(stderr=True)
out = Console(highlight=False)


class Duration(click.ParamType):
    """Seconds, from `90s`, `10m`, `1h30m` or a plain number of seconds."""

    name = "duration"
    _parts = re.compile(r"^(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?$")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = self._parts.match(str(value).strip())
        if match is None or not any(match.groups()):
            self.fail(f"{value!r} is no duration; write it as 90s, 10m or 1h30m", param, ctx)
        hours, minutes, seconds = (float(g or 0) for g in match.groups())
        total = 3600 * hours + 60 * minutes + seconds
        if total <= 0:
            self.fail("a duration must be longer than nothing", param, ctx)
        return total


class Rate(click.ParamType):
    """A share between 0 and 1, also written as a percentage: `0.01` or `1%`."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip()
        try:
            rate = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            self.fail(f"{value!r} is no rate; write 0.01 or 1%", param, ctx)
        if not 0 < rate < 1:
            self.fail(f"{value} is not between 0 and 1; for one percent write 0.01 or 1%", param, ctx)
        return rate


def signature_option(command: Command) -> Command:
    """Adds --require-signature, whose value is the keys that are trusted."""
    option = click.option(
        "--require-signature", "signed_by", multiple=True, type=_PublicKeyFile(), metavar="KEY.pub",
        help="Take only a bundle that this key has signed; given several times: that one of them has.",
    )  # fmt: skip
    return option(command)


class _PublicKeyFile(click.ParamType):
    name = "key"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from edge_ad.bundle.signature import read_public_key

        return read_public_key(Path(value))


def read_password(path: Path | None) -> bytes | None:
    """The first line of a password file, None without one. Raises UsageError for one that is empty."""
    if path is None:
        return None
    try:
        password = path.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror})", where=path) from error
    if not password:
        raise UsageError("the first line is empty and no password", where=path)
    return password


def print_json(data: Any) -> None:
    """One JSON document on standard output, keys as given."""
    click.echo(json.dumps(data, indent=2, allow_nan=False))


@contextmanager
def stages() -> Iterator[Callable[[str, int], Callable[[], None]]]:
    """A progress bar for each stage of a longer command, on standard error: what, share done, time left."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors) as progress:

        def stage(what: str, total: int) -> Callable[[], None]:
            task = progress.add_task(what, total=total)
            return lambda: progress.advance(task)

        yield stage
