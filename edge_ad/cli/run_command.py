"""`edge-ad run`."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from pathlib import Path
from types import FrameType

import click

from edge_ad.cli.options import errors, print_json
from edge_ad.cli.payloads import board_address, board_options, open_payload


@click.command("run")
@click.argument("bundle")
@click.option("--source", "source_url", required=True,
              help="camera:0, rtsp://…, http://…, a video file, a folder of images or scans, a series file, or "
              "npy:FILE.")  # fmt: skip
@click.option("--sink", "sink_urls", multiple=True, default=("stdout",), show_default=True,
              help="stdout, jsonl:FILE, mqtt://[user:pass@]host[:port][/node], mqtts://…, "
              "serial:/dev/ttyUSB0[?baud=115200&format=json|link]; may be given several times.")  # fmt: skip
@click.option("--target", help="Which payload; may be left out when the bundle holds one.")
@click.option("--stream", help="Name of the stream in events and topics (default: from the source).")
@click.option("--node", help="Name of this device in MQTT topics (default: its host name).")
@click.option("--k", type=click.IntRange(1), default=1, show_default=True, help="An event begins when K …")
@click.option(
    "--n", type=click.IntRange(1), default=1, show_default=True, help="… of the last N frames are anomalous."
)
@click.option("--release", type=click.IntRange(0),
              help="Frames in a row below the release level that end an event; 0: each frame is a part of its own "
              "(default: 0 for image folders, else 3).")  # fmt: skip
@click.option("--hysteresis", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
              help="Release level as a share of the threshold.")  # fmt: skip
@click.option("--threshold", type=float, help="Use this threshold instead of the bundle's.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the engine.")
@board_options
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    bundle: str, source_url: str, sink_urls: tuple[str, ...], target: str | None, stream: str | None,
    node: str | None, k: int, n: int, release: int | None, hysteresis: float, threshold: float | None,
    threads: int | None, board: str | None, port: str | None, baud: int, state: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Watch a source and report anomalies.

    BUNDLE is dir:/opt/line3 (what flash made live) or a .edgead file; with --board or --port its network runs there,
    where flash has put it. Live sources keep the newest frame and count
    the others; files drop nothing. SIGTERM and Ctrl-C end an open event, deliver what waits and stop.
    """
    from edge_ad.runtime.decision import Decision, DecisionConfig
    from edge_ad.runtime.deployment import load
    from edge_ad.runtime.events import topic_id
    from edge_ad.runtime.localise import locator
    from edge_ad.runtime.pipeline import run_stream
    from edge_ad.runtime.scorer import Scorer
    from edge_ad.runtime.sinks import open_sinks
    from edge_ad.runtime.sources import open_source

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    stop = threading.Event()
    # What is open already is closed when a later part cannot be opened.
    with contextlib.ExitStack() as opened:
        live = opened.enter_context(load(bundle, target=target))
        address = board_address(board, port, baud, state)
        payload, engine = open_payload(live, target, address, threads, opened)
        limit = payload.threshold(threshold)
        if threshold is not None and payload.thresholds is not None:
            errors.print(f"threshold {threshold:g} instead of the bundle's {payload.threshold():g}")
        if release is None:
            separate = live.manifest.input.modality not in ("scan", "series") and _separate_parts(source_url)
            release = 0 if separate and n == 1 else 3
        # A threshold of one's own leaves the band, which lies around the bundle's.
        band = payload.thresholds.rejection if payload.thresholds is not None and threshold is None else None
        config = DecisionConfig(k=k, n=n, release=release, hysteresis=hysteresis)
        decision = Decision(limit, config, band)
        source = open_source(source_url, input=live.manifest.input)
        opened.callback(source.close)
        sinks = open_sinks(sink_urls, node=node or topic_id(socket.gethostname()))
        info = engine.describe()
        errors.print(
            f"running {live.digest[:12]} on {info.engine} {info.version} ({info.provider}, {info.isa}, "
            f"{info.precision}, {info.threads} threads), threshold {limit:.6g}",
            soft_wrap=True, markup=False,
        )  # fmt: skip
        for number in (signal.SIGTERM, signal.SIGINT):
            opened.callback(signal.signal, number, signal.signal(number, _stopper(stop)))
        summary = run_stream(
            source, Scorer(engine, live.manifest.input, payload.head), decision, sinks,
            stream=stream or topic_id(source.name),
            bundle=live.digest, stop=stop, locate=locator(live.manifest.input, payload.head),
        )  # fmt: skip
    if as_json:
        print_json(summary.as_dict())
    else:
        errors.print(str(summary), soft_wrap=True, markup=False)
    summary.raise_for_error()


def _separate_parts(url: str) -> bool:
    """Whether the source shows one part a frame: a folder of images, or an array of them."""
    return url.startswith(("images:", "npy:")) or Path(url).is_dir()


def _stopper(stop: threading.Event):  # type: ignore[no-untyped-def]
    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    return handle
