"""`edge-ad bridge`."""

from __future__ import annotations

import os
import re
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import click

from edge_ad.cli.options import errors, print_json
from edge_ad.errors import UsageError
from edge_ad.firmware_bridge.ports import DEFAULT_BAUD


@click.command("bridge")
@click.option("--port", "ports", multiple=True, required=True, metavar="[NAME=]PORT",
              help="/dev/ttyACM0, a pattern in quotes ('/dev/serial/by-id/*') whose ports may come and go, or a "
              "pyserial URL (socket://host:port, rfc2217://…). NAME is put before the names of its streams. May be "
              "given several times.")  # fmt: skip
@click.option("--sink", "sinks", multiple=True, default=("stdout",), show_default=True,
              help="stdout, jsonl:FILE, mqtt://[user:pass@]host[:port][/node], mqtts://…, webhook+https://…; may be "
              "given several times.")  # fmt: skip
@click.option("--keep", "state", type=click.Path(path_type=Path, file_okay=False),
              help="Folder of the outbox: nothing is lost over a restart (default: systemd's STATE_DIRECTORY, else "
              "none is kept).")  # fmt: skip
@click.option("--node", help="Name of this device in MQTT topics (default: its host name).")
@click.option("--http", metavar="[HOST:]PORT", help="Answer /health and /metrics there.")
@click.option("--baud", type=click.IntRange(1), default=DEFAULT_BAUD, show_default=True)
@click.option("--format", "wire", type=click.Choice(["auto", "link", "json"]), default="auto", show_default=True,
              help="What comes on the lines: frames of the link, or JSON lines.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    ports: tuple[str, ...], sinks: tuple[str, ...], state: Path | None, node: str | None, http: str | None, baud: int,
    wire: Any, as_json: bool,
) -> None:  # fmt: skip
    """Carry the events of microcontrollers on serial lines to MQTT and other receivers.

    Each event gets a number of this device, is written to the outbox, and only then acknowledged to the board; it
    leaves the outbox once every receiver has it. Ports may be unplugged and come back. SIGTERM and Ctrl-C deliver what
    waits and stop. docs/bridge.md tells the rest.
    """
    from edge_ad.runtime.bridge import Bridge, BridgeConfig
    from edge_ad.runtime.events import topic_id
    from edge_ad.runtime.operations.logs import set_up_logging
    from edge_ad.runtime.state_folder import state_folder

    set_up_logging(debug=bool(os.environ.get("EDGE_AD_DEBUG")))
    config = BridgeConfig(
        node=node or topic_id(socket.gethostname()),
        ports=tuple(_pattern(port) for port in ports),
        sinks=sinks,
        baud=baud,
        format=wire,
        state=state_folder(state),
        http=http,
    )
    with ExitStack() as opened:
        bridge = opened.enter_context(Bridge(config))

        def stop(number: int, frame: FrameType | None) -> None:
            bridge.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            opened.callback(signal.signal, number, signal.signal(number, stop))
        summary = bridge.run()
    if as_json:
        print_json(summary.as_dict())
    else:
        errors.print(str(summary), soft_wrap=True, markup=False)


def _pattern(text: str) -> Any:
    """`[NAME=]PORT`. Raises UsageError."""
    from edge_ad.runtime.bridge.bridge import PortPattern
    from edge_ad.runtime.events import TOPIC_ID

    label, equals, pattern = text.partition("=")
    if not equals or re.search(r"[/:]", label):
        return PortPattern(text)
    if not re.fullmatch(TOPIC_ID, label) or not pattern:
        raise UsageError(f"'{text}' is no port", hint="--port press1=/dev/ttyACM0")
    return PortPattern(pattern, label)
