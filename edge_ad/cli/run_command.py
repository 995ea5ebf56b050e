"""`edge-ad run`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from edge_ad.bundle.signature import PublicKey
from edge_ad.cli.options import errors, out, print_json, signature_option
from edge_ad.cli.payloads import board_address, board_options, provider_option
from edge_ad.errors import UsageError

if TYPE_CHECKING:
    from edge_ad.runtime.station.config import StationConfig
    from edge_ad.runtime.station.station import Station


@click.command("run")
@click.argument("what", metavar="BUNDLE|STATION.toml")
@click.option("--source", "source_url",
              help="camera:0, rtsp://…, http://…, gst:PIPELINE, a video file, a folder of images or scans, "
              "watch:FOLDER, velodyne://…, ouster://…, pcap:FILE, a series file, stdin:, lines:/dev/ttyUSB0, "
              "link:/dev/ttyACM0, mqtt://host/topic or npy:FILE.")  # fmt: skip
@click.option("--sink", "sink_urls", multiple=True,
              help="stdout (the default), jsonl:FILE, mqtt://[user:pass@]host[:port][/node], mqtts://…, "
              "serial:/dev/ttyUSB0[?baud=115200&format=json|link], webhook+https://…; may be given "
              "several times.")  # fmt: skip
@click.option("--check", is_flag=True, help="Open what can be opened without contacting anybody, and tell.")
@click.option("--target", help="Which payload; may be left out when the bundle holds one.")
@click.option("--stream", help="Name of the stream in events and topics (default: from the source).")
@click.option("--node", help="Name of this device in MQTT topics (default: its host name).")
@click.option("--keep", "state_folder", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for the outbox and for what the stream goes on from: nothing is lost over a restart, and "
              "what fails is opened again for ever.")  # fmt: skip
@click.option("--http", metavar="[HOST:]PORT", help="Answer /health and /metrics there.")
@click.option("--k", type=click.IntRange(1), help="An event begins when K … (default: 1)")
@click.option("--n", type=click.IntRange(1), help="… of the last N frames are anomalous. (default: 1)")
@click.option("--release", type=click.IntRange(0),
              help="Frames in a row below the release level that end an event; 0: each frame is a part of its own "
              "(default: 0 for image folders, else 3).")  # fmt: skip
@click.option("--hysteresis", type=click.FloatRange(0, 1, min_open=True),
              help="Release level as a share of the threshold. (default: 1)")  # fmt: skip
@click.option(
    "--min-frames",
    type=click.IntRange(1),
    help="Frames that an event has to last to be reported. (default: 1)",
)
@click.option(
    "--cooldown", type=click.IntRange(0), help="Frames after an event in which no other begins. (default: 0)"
)
@click.option("--threshold", type=float, help="Use this threshold instead of the bundle's.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the engine.")
@provider_option
@signature_option
@board_options
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    what: str, source_url: str | None, sink_urls: tuple[str, ...], check: bool, target: str | None, stream: str | None,
    node: str | None, state_folder: Path | None, http: str | None, threshold: float | None, threads: int | None,
    require_provider: str | None, signed_by: tuple[PublicKey, ...], board: str | None, port: str | None, baud: int,
    state: Path | None, as_json: bool, **rules: Any,
) -> None:  # fmt: skip
    """Watch sources and report anomalies.

    BUNDLE is dir:/opt/line3 (what flash made live) or a .edgead file, which judges one --source; with --board or --port
    its network runs there, where flash has put it. STATION.toml describes any number of streams and sinks
    (docs/station.md). Live sources keep the newest frame and count the others; files drop nothing. SIGTERM and Ctrl-C
    end an open event, deliver what waits and stop.
    """
    from edge_ad.runtime.operations.logs import set_up_logging
    from edge_ad.runtime.station.config import read_station
    from edge_ad.runtime.station.station import Station
    from edge_ad.runtime.station.station import check as check_station

    set_up_logging(debug=bool(os.environ.get("EDGE_AD_DEBUG")))
    with ExitStack() as opened:
        if what.endswith(".toml"):
            beside = {
                **rules, "source": source_url, "sink": sink_urls, "threshold": threshold, "target": target,
                "stream": stream, "node": node, "keep": state_folder, "http": http, "threads": threads,
                "board": board, "port": port, "require_signature": signed_by, "require_provider": require_provider,
            }  # fmt: skip
            given = [name.replace("_", "-") for name, value in beside.items() if value not in (None, ())]
            if given:
                raise UsageError(f"a station file says all of it; leave out --{given[0]}", where=what)
            config = read_station(Path(what))
            opened.enter_context(_working_in(Path(what).parent))
            retry = True
        else:
            if source_url is None:
                raise UsageError("say what to watch", hint="--source camera:0, or give a station file")
            config = _one_stream(
                what, source_url, sink_urls or ("stdout",), target=target, stream=stream, node=node, threads=threads,
                state=state_folder, http=http, threshold=threshold, board=board_address(board, port, baud, state),
                rules=rules, signed_by=signed_by, require_provider=require_provider,
            )  # fmt: skip
            retry = state_folder is not None
        if check:
            out.print("\n".join(check_station(config)), soft_wrap=True, markup=False)
            return
        station = opened.enter_context(Station(config, retry=retry, board_state=state))
        _introduce(station)
        for number in (signal.SIGTERM, signal.SIGINT):
            opened.callback(signal.signal, number, signal.signal(number, _stopper(station)))
        summary = station.run()
    if as_json:
        told = summary.as_dict()
        print_json(
            told
            if what.endswith(".toml")
            else {**next(iter(told["streams"].values())), "sinks": told["sinks"]}
        )
    else:
        errors.print(str(summary), soft_wrap=True, markup=False)
    summary.raise_for_error()


def _one_stream(
    bundle: str, source: str, sinks: tuple[str, ...], *, target: str | None, stream: str | None, node: str | None,
    threads: int | None, state: Path | None, http: str | None, threshold: float | None, board: Any,
    rules: dict[str, Any], signed_by: tuple[PublicKey, ...], require_provider: str | None,
) -> StationConfig:  # fmt: skip
    """The options of the command as a station of one stream."""
    from edge_ad.runtime.events import topic_id
    from edge_ad.runtime.sources.capture import without_login
    from edge_ad.runtime.station.config import BoardTable, SinkTable, StationConfig, StreamTable, checked

    table = None if board is None else BoardTable(address=board.board, port=board.port, baud=board.baud)
    with checked("the command line"):
        return StationConfig(
            node=node,
            state=state,
            http=http,
            stream=[
                StreamTable(
                    name=stream or topic_id(without_login(source)),
                    bundle=bundle,
                    source=source,
                    target=target,
                    threads=threads,
                    board=table,
                    threshold=threshold,
                    require_signature=[key.name for key in signed_by],
                    require_provider=require_provider,
                    decision={key: value for key, value in rules.items() if value is not None},
                )
            ],
            sink=[SinkTable(url=url) for url in sinks],
        )


def _introduce(station: Station) -> None:
    """Say what runs where."""
    for running in station.streams:
        info = running.shared.engine.describe()
        limit = running.judge.decision.threshold
        own = running.payload.thresholds
        if running.table.threshold is not None and own is not None:
            errors.print(f"threshold {limit:g} instead of the bundle's {running.payload.threshold():g}")
        errors.print(
            f"running {running.live.digest[:12]} on {info.engine} {info.version} ({info.provider}, {info.isa}, "
            f"{info.precision}, {info.threads} threads), threshold {limit:.6g}",
            soft_wrap=True, markup=False,
        )  # fmt: skip


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Paths in a station file are relative to the folder that holds it."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _stopper(station: Station):  # type: ignore[no-untyped-def]
    def handle(number: int, frame: FrameType | None) -> None:
        station.stop()

    return handle
