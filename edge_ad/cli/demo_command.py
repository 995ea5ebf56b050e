"""`edge-ad demo`."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import click

from edge_ad.cli.options import errors, out, print_json, stages
from edge_ad.errors import UsageError

PRESET = "tiny"
STEPS = 4000
SIZE_PX = 192
N_TRAIN, N_TEST_GOOD, N_DEFECTIVE = 240, 30, 30
MAX_FALSE_ALARMS = 0.05
FIT_BUDGET_S = 200.0  # a slower machine fits fewer steps, so that the whole stays a matter of minutes
NODE, STREAM = "demo", "line"


@click.command("demo")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep everything in this new folder.")
@click.option(
    "--steps", type=click.IntRange(1), default=STEPS, show_default=True, help="Optimiser steps of the fit."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(folder: Path | None, steps: int, as_json: bool) -> None:
    """The whole way on generated parts: fit, compile, flash, run.

    Images of a turned part are generated, some with defects. A detector is fitted on the good ones, compiled to
    INT8, flashed to a folder, and watches parts go by while an embedded MQTT broker carries its events.
    """
    with tempfile.TemporaryDirectory(prefix="edge-ad-demo-") as temporary:
        work = folder or Path(temporary)
        if folder is not None:
            _make_new(folder)
        found = _demo(work, steps)
        if as_json:
            print_json(found)
        else:
            _tell(found, folder)


def _make_new(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise UsageError("exists already", where=folder, hint="name a folder that does not") from error
    except OSError as error:
        raise UsageError(f"cannot be made ({error.strerror})", where=folder) from error


def _demo(work: Path, steps: int) -> dict[str, Any]:
    """All steps; each is what the command of that name does."""
    from edge_ad import targets
    from edge_ad.compile.pipeline import compile_bundle
    from edge_ad.data.samples import make_parts
    from edge_ad.detectors.efficientad.config import PRESETS
    from edge_ad.detectors.efficientad.fit import fit
    from edge_ad.runtime.deployment import deploy

    parts, model, bundle, line = work / "parts", work / "model", work / "part.edgead", work / "line"
    with stages() as stage:
        done = stage("generate parts", 1)
        make_parts(parts, 1, size=SIZE_PX, n_train=N_TRAIN, n_test_good=N_TEST_GOOD, n_defective=N_DEFECTIVE)
        done()
        done = stage(f"fit efficientad {PRESET}", steps)
        config = PRESETS[PRESET].model_copy(update={"steps": steps})
        fit(config, parts, model, budget_s=FIT_BUDGET_S, progress=lambda share, status: done())
        made = compile_bundle(
            model,
            [targets.get("openvino-cpu")],
            parts,
            bundle,
            max_false_alarms=MAX_FALSE_ALARMS,
            stage=stage,
        )
        done = stage("flash", 1)
        deployed = deploy(bundle, line)
        done()
    kinds = _parts_in_order(parts, work / "belt")
    events = _watch(line, work / "belt", kinds)
    report = made.report.payloads[0]
    timing = made.report.measurement[0] if made.report.measurement else None
    return {
        "digest": made.digest,
        "golden": {"count": deployed.golden.count, "worst_error": deployed.golden.worst_error},
        "thresholds": report.thresholds.model_dump(mode="json", by_alias=True),
        "times_faster": None if timing is None else round(timing.ratio, 1),
        "parts": {"good": N_TEST_GOOD, "defective": N_DEFECTIVE},
        "found": sum(kinds[e["sample"]] != "good" for e in events),
        "false_alarms": sum(kinds[e["sample"]] == "good" for e in events),
        "events": [{**e, "is": kinds[e["sample"]]} for e in events],
    }


def _parts_in_order(parts: Path, belt: Path) -> dict[str, str]:
    """Test parts one after the other, good and defective mixed; returns the kind of each by file name."""
    import numpy as np

    from edge_ad.data.labelled import list_labelled

    images = list_labelled(parts)
    belt.mkdir()
    kinds = {}
    for position, index in enumerate(np.random.default_rng(0).permutation(len(images))):
        name = f"{position:03}{images[index].path.suffix}"
        shutil.copy(images[index].path, belt / name)
        kinds[name] = images[index].kind
    return kinds


def _watch(line: Path, belt: Path, kinds: dict[str, str]) -> list[dict[str, Any]]:
    """Run what is live in `line` on the parts in `belt`; the events as a subscriber of the broker received them."""
    from edge_ad.cli.demo_broker import Subscriber, broker
    from edge_ad.runtime.decision import SEPARATE_PARTS, Decision
    from edge_ad.runtime.deployment import live
    from edge_ad.runtime.engines import open_engine
    from edge_ad.runtime.localise import locator
    from edge_ad.runtime.pipeline import Result, run_stream
    from edge_ad.runtime.scorer import Scorer
    from edge_ad.runtime.sinks import open_sinks
    from edge_ad.runtime.sources import open_source

    loaded = live(line)
    payload = loaded.manifest.payload(loaded.target)
    engine = open_engine(payload, loaded.folder)
    errors.print(f"watching {len(kinds)} parts go by; events travel over MQTT")
    n_events = 0

    def count(result: Result) -> None:
        nonlocal n_events
        n_events += len(result.events)

    with broker() as port, Subscriber(port, f"edge-ad/{NODE}/{STREAM}/event") as subscriber:
        summary = run_stream(
            open_source(str(belt)),
            Scorer(engine, loaded.manifest.input, payload.head),
            Decision(payload.threshold(), SEPARATE_PARTS),
            open_sinks([f"mqtt://127.0.0.1:{port}/{NODE}"], node=NODE),
            stream=STREAM,
            bundle=loaded.digest,
            stop=threading.Event(),
            locate=locator(loaded.manifest.input, payload.head),
            on_result=count,
        )
        received = subscriber.wait_for(n_events)
    engine.close()
    summary.raise_for_error()
    return [event for event in map(json.loads, received) if event["kind"] == "new"]


def _tell(found: dict[str, Any], folder: Path | None) -> None:
    from rich.table import Table

    table = Table("part", "is", "score", "threshold", "where (x, y, w, h)", title="events received over MQTT")
    for event in found["events"]:
        box = event["where"]["box"] if event.get("where") else "-"
        table.add_row(
            event["sample"], event["is"], f"{event['score']:.3f}", f"{event['threshold']:.3f}", str(box)
        )
    out.print(table)
    parts, thresholds = found["parts"], found["thresholds"]
    out.print(
        f"bundle {found['digest'][:16]}, {found['golden']['count']} golden vectors agreed before it went live"
    )
    out.print(
        f"threshold {thresholds['compiled']['value']:.3f} after INT8 (float: {thresholds['float']['value']:.3f}), "
        f"{found['times_faster']} times faster than float32"
    )
    out.print(
        f"found {found['found']} of {parts['defective']} defective parts, {found['false_alarms']} false alarms on "
        f"{parts['good']} good ones"
    )
    if folder is not None:
        out.print(f"report: {folder / 'part.html'}", soft_wrap=True)
