"""`edge-ad board`: a microcontroller that watches by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_ad.bundle.signature import PublicKey
from edge_ad.cli.options import out, print_json, signature_option
from edge_ad.cli.payloads import board_address, board_options
from edge_ad.errors import UsageError

if TYPE_CHECKING:
    from edge_ad.firmware_bridge.connection import Connection
    from edge_ad.firmware_bridge.frames import Frame
    from edge_ad.firmware_bridge.watching import Statistics


@click.group("board")
def command() -> None:
    """Have a board judge by itself, and send events in place of data.

    flash puts the model on it; `board watch` makes it watch, over restarts too, until `board stop`. Its events are
    carried on by `edge-ad bridge`. See docs/microcontrollers.md.
    """


@command.command("watch")
@click.argument("bundle")
@click.option("--target", help="Which payload; by default the one for the board that answers.")
@click.option("--stream", help="Its name in events and topics, up to 32 characters (default: the bundle's).")
@click.option("--k", type=click.IntRange(1), default=1, show_default=True, help="An event begins when K …")
@click.option("--n", type=click.IntRange(1, 32), default=1, show_default=True,
              help="… of the last N frames are anomalous.")  # fmt: skip
@click.option("--release", type=click.IntRange(0), help="Frames in a row below the release level that end an event; 0: "
              "each frame is a part of its own (default: 3 for streams, else 0).")  # fmt: skip
@click.option("--hysteresis", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
              help="Release level as a share of the threshold.")  # fmt: skip
@click.option("--min-frames", type=click.IntRange(1), default=1, show_default=True,
              help="Frames that an event has to last to be reported.")  # fmt: skip
@click.option("--cooldown", type=click.IntRange(0), default=0, show_default=True,
              help="Frames after an event in which no other begins.")  # fmt: skip
@signature_option
@board_options
def watch(
    bundle: str, target: str | None, stream: str | None, release: int | None, board: str | None, port: str | None,
    baud: int, state: Path | None, signed_by: tuple[PublicKey, ...], **rules: Any,
) -> None:  # fmt: skip
    """Watch from now on: BUNDLE's model, which must be live on the board, judges what the sensor measures, or what is
    sent."""
    from edge_ad.firmware_bridge import watching
    from edge_ad.runtime.bridge.feeding import require_live
    from edge_ad.runtime.deployment import load
    from edge_ad.runtime.events import topic_id

    with load(bundle, target=target, signed_by=signed_by) as live, _line(board, port, baud, state) as line:
        require_live(live, target, line)
        manifest = live.manifest
        if release is None:
            release = 0 if manifest.input.window is None and rules["n"] == 1 else 3
        name = stream or topic_id(manifest.name)[:32].rstrip("-._")
        watching.start(line.client, watching.Rules(release=release, **rules), stream=name, digest=live.digest)
        found = watching.statistics(line.client)
    out.print(f"'{name}' is watched on {line.hello.board}: threshold {found.value(found.threshold):.6g}")


@command.command("stop")
@board_options
def stop(board: str | None, port: str | None, baud: int, state: Path | None) -> None:
    """Watch no more; an open event ends."""
    from edge_ad.firmware_bridge import watching

    with _line(board, port, baud, state) as line:
        watching.stop(line.client)
    out.print("watches no more")


@command.command("threshold")
@click.argument("value", type=float, required=False)
@click.option("--own", is_flag=True, help="The one that the model was compiled with.")
@board_options
def threshold(
    value: float | None, own: bool, board: str | None, port: str | None, baud: int, state: Path | None
) -> None:
    """Judge by another threshold, within what the bundle allows; it stays over restarts."""
    from edge_ad.firmware_bridge import watching

    if (value is None) != own:
        raise UsageError(
            "give either a threshold or --own", hint="edge-ad board threshold 0.3 --port /dev/ttyACM0"
        )
    with _line(board, port, baud, state) as line:
        found = watching.statistics(line.client)
        units = None if value is None else found.units(value)
        if units is not None and not found.lowest <= units <= found.highest:
            lowest, highest = found.value(found.lowest), found.value(found.highest)
            raise UsageError(f"the threshold may be {lowest:.6g} to {highest:.6g}, not {value:g}")
        now = watching.set_threshold(line.client, units)
    out.print(f"threshold {found.value(now):.6g}")


@command.command("statistics")
@board_options
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def statistics(board: str | None, port: str | None, baud: int, state: Path | None, as_json: bool) -> None:
    """What the board has seen since it began to watch, or started."""
    from edge_ad.firmware_bridge import watching

    with _line(board, port, baud, state) as line:
        told = _told(watching.statistics(line.client))
    if as_json:
        print_json(told)
        return
    for name, value in told.items():
        out.print(
            f"{name.replace('_', ' ')}: {f'{value:.6g}' if isinstance(value, float) else value}",
            soft_wrap=True,
        )


@command.command("feed")
@click.argument("bundle")
@click.option(
    "--source", required=True, help="A series file, whose rows are sent; or images or scans (file, folder)."
)
@click.option("--target", help="Which payload; by default the one for the board that answers.")
@board_options
def feed(
    bundle: str,
    source: str,
    target: str | None,
    board: str | None,
    port: str | None,
    baud: int,
    state: Path | None,
) -> None:
    """Send a board that watches what a sensor would give it, and print its events, one JSON object a line."""
    from edge_ad.firmware_bridge.port_spec import port_spec
    from edge_ad.runtime.bridge.feeding import Ear, feed_inputs, feed_rows, hear_out, require_live
    from edge_ad.runtime.deployment import load

    ear = Ear(lambda event: click.echo(event.to_json()))
    with load(bundle, target=target) as live, _line(board, port, baud, state, unasked=ear.take) as line:
        payload = require_live(live, target, line)
        spec = live.manifest.input
        if spec.window is not None and spec.window.rate_hz is not None:
            n, noun = feed_rows(line.client, ear, Path(source), spec.window), "row"
        else:
            n, noun = (
                feed_inputs(line.client, ear, source, spec, port_spec(payload.options["input"])),
                spec.noun,
            )
        hear_out(line.client, ear)
    click.echo(f"sent {n} {noun}{'' if n == 1 or noun.endswith('s') else 's'}", err=True)


@contextlib.contextmanager
def _line(
    board: str | None, port: str | None, baud: int, state: Path | None,
    unasked: Callable[[Frame], None] | None = None,
) -> Iterator[Connection]:  # fmt: skip
    from edge_ad.firmware_bridge.connection import Connection

    address = board_address(board, port, baud, state)
    if address is None:
        raise UsageError(
            "say which board", hint="--port /dev/ttyACM0, --board qemu:mps2-an386 or --board posix"
        )
    with Connection(address, unasked=unasked) as line:
        yield line


def _told(found: Statistics) -> dict[str, Any]:
    """Statistics with thresholds and scores in the bundle's unit."""
    told = asdict(found)
    for name in ("mantissa", "exponent"):
        del told[name]
    for name in ("threshold", "last_score", "lowest", "highest"):
        told[name] = found.value(told[name])
    return told
