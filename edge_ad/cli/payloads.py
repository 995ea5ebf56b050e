"""From a bundle and where it runs to a payload and its engine, as several commands need it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import click

from edge_ad.bundle.manifest import Payload
from edge_ad.firmware_bridge.connection import BoardAddress, Connection
from edge_ad.runtime.deployment import LiveBundle
from edge_ad.runtime.engines import open_engine
from edge_ad.runtime.engines.base import Engine
from edge_ad.runtime.station.engines import payload_on

Command = TypeVar("Command", bound=Callable[..., Any])


def board_options(command: Command) -> Command:
    """Adds --board, --port, --baud and --state; `board_address` makes an address of them."""
    from edge_ad.firmware_bridge.ports import DEFAULT_BAUD

    for option in reversed(
        [
            click.option("--board", metavar="ADDRESS",
                         help="An emulated board: posix, qemu:mps2-an386, qemu:mps2-an500 or qemu:mps3-an547."),
            click.option("--port", metavar="PORT", help="A board's serial port, e.g. /dev/ttyACM0 or socket://host:port."),
            click.option("--baud", type=click.IntRange(1), default=DEFAULT_BAUD, show_default=True,
                         help="Baud rate of --port."),
            click.option("--state", type=click.Path(path_type=Path, file_okay=False),
                         help="Folder in which emulated boards keep their flash (default: the user's data folder)."),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


def provider_option(command: Command) -> Command:
    """Adds --require-provider."""
    option = click.option(
        "--require-provider", type=click.Choice(["tensorrt", "cuda", "cpu"]),
        help="Fail unless this one runs all of the network; without it, one that is not there, or cannot take a node, "
        "leaves it to the next, and that is said.",
    )  # fmt: skip
    return option(command)


def board_address(
    board: str | None, port: str | None, baud: int, state: Path | None, *, count: bool = False
) -> BoardAddress | None:
    """The board that was named, None without one. Raises UsageError for two."""
    if board is None and port is None:
        return None
    return BoardAddress(board=board, port=port, baud=baud, state=state, count=count)


def open_payload(
    live: LiveBundle, target: str | None, address: BoardAddress | None, threads: int | None, opened: ExitStack,
    require_provider: str | None = None,
) -> tuple[Payload, Engine]:  # fmt: skip
    """A payload and its engine, both closed with `opened`; on the board at `address`, or on this machine."""
    overrides: dict[str, Any] = {} if threads is None else {"threads": threads}
    if address is None:
        payload = live.manifest.payload(target or live.target)
    else:
        connection = opened.enter_context(Connection(address))
        payload = payload_on(live.manifest, target or live.target, connection)
        overrides["connection"] = connection
    engine = open_engine(payload, live.folder, require_provider=require_provider, **overrides)
    opened.callback(engine.close)
    return payload, engine
