"""`edge-ad receive`: what `edge-ad flash --to ssh://…` runs on a device. Answers in JSON, errors among it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from edge_ad.cli.options import print_json
from edge_ad.errors import EdgeAdError

_ROOT = click.argument("root", type=click.Path(path_type=Path))
_RESTART = click.option("--restart", metavar="UNIT", help="A systemd unit to restart then.")
_WAIT = click.option("--wait", "wait_s", type=float, default=60.0, help="Seconds that it has to come up.")


@click.group("receive")
def command() -> None:
    """The device's side of `edge-ad flash --to ssh://…`, which calls it; there is no need to."""


@command.command("ask")
@_ROOT
def ask(root: Path) -> None:
    """What this device is, what is live, and which files it has."""
    from edge_ad.runtime.deployment.remote.receiving import describe

    with _answering() as answer:
        answer.update(describe(root).model_dump(mode="json", by_alias=True))


@command.command("install")
@_ROOT
def install(root: Path) -> None:
    """Take a bundle from standard input and make it live."""
    from edge_ad.runtime.deployment.remote.receiving import install

    with _answering() as answer:
        answer.update(install(root, sys.stdin.buffer).model_dump(mode="json"))


@command.command("rollback")
@_ROOT
@_RESTART
@_WAIT
def rollback(root: Path, restart: str | None, wait_s: float) -> None:
    """Go back to the bundle before."""
    from edge_ad.runtime.deployment.remote.receiving import go_back

    with _answering() as answer:
        answer.update(go_back(root, restart=restart, wait_s=wait_s).model_dump(mode="json"))


@command.command("prove")
@_ROOT
def prove(root: Path) -> None:
    """Run the golden vectors of the bundle that is live."""
    from edge_ad.runtime.deployment.remote.asked import prove_live

    with _answering() as answer:
        answer.update(prove_live(root).model_dump(mode="json"))


@command.command("score")
@_ROOT
def score(root: Path) -> None:
    """Scores, by the bundle that is live, of network inputs that come as an .npy on standard input."""
    from edge_ad.runtime.deployment.remote.asked import score_live

    with _answering() as answer:
        answer.update(score_live(root, sys.stdin.buffer).model_dump(mode="json"))


@command.command("service")
@_ROOT
@click.option("--name", required=True)
@click.option("--folder", type=click.Path(path_type=Path), required=True)
@click.option("--user")
def service(root: Path, name: str, folder: Path, user: str | None) -> None:
    """Take a station file from standard input, and write a systemd unit that runs it."""
    from edge_ad.runtime.deployment.remote.receiving import take_station

    with _answering() as answer:
        answer["unit"] = str(take_station(root, sys.stdin.buffer, name=name, folder=folder, user=user))


@contextmanager
def _answering() -> Iterator[dict[str, Any]]:
    """Prints what the body puts in, or the error that it raises, which also is the exit status."""
    from edge_ad.runtime.deployment.remote.protocol import error_json

    answer: dict[str, Any] = {}
    try:
        yield answer
    except EdgeAdError as error:
        print_json(error_json(error))
        sys.stdout.flush()
        sys.exit(error.exit_code)
    print_json(answer)
