"""Every detector on every emulated board: equality on many inputs, what it costs, and what it says of real data.

    python tests/bench/detectors_on_boards.py --work work/boards
    python tests/bench/detectors_on_boards.py --work work/boards --detector starnet --inputs 50

Fits, compiles for the POSIX board and three of QEMU's, flashes, and sends each board the same inputs: half of them the
detector's own held-back and test inputs, half noise over all of the port's range, and the ends of it. All outputs have
to be those of the engine on this machine, to the bit. What is there already is kept. Prints Markdown.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import numpy.typing as npt
from image_boards import _firmware_bytes

from edge_ad.data.inputs import find_labelled, find_normals
from edge_ad.data.scenes import make_scenes
from edge_ad.detectors import load_detector
from edge_ad.firmware_bridge.boards import find
from edge_ad.firmware_bridge.connection import BoardAddress, Connection
from edge_ad.firmware_bridge.port_spec import port_spec
from edge_ad.runtime.deployment import load
from edge_ad.runtime.engines import open_engine, open_model
from edge_ad.runtime.engines.base import Engine
from edge_ad.runtime.preprocess import preprocess
from targets import edge_ad

ROOT = Path(__file__).resolve().parents[2]
BOARDS = {
    "posix": "posix", "cortex-m4": "qemu:mps2-an386", "cortex-m7": "qemu:mps2-an500", "cortex-m55": "qemu:mps3-an547",
}  # fmt: skip
Integers = npt.NDArray[Any]


class Case(NamedTuple):
    """A detector, the set that it is fitted on, the false alarms that are asked for, and how it is fitted."""

    detector: str
    title: str
    data: Path
    rate: float
    fit: list[str]


def cases(shared: Path, work: Path) -> Iterator[Case]:
    """One set for each detector; folders that commands need are put together below `work`."""
    parts = shared / "images" / "magnetic_tile"
    yield Case(
        "efficientad",
        "EfficientAD `micro`, magnetic_tile",
        parts,
        0.05,
        ["--preset", "micro", "--steps", "3000"],
    )
    yield Case("fader", "FADeR `micro`, magnetic_tile", parts, 0.05, ["--preset", "micro", "--steps", "400"])
    yield Case("starnet", "STARNet `micro`, regret, generated streets", streets(work), 0.1,
               ["--preset", "micro", "--score", "regret"])  # fmt: skip
    yield Case(
        "tspulse",
        "TSPulse `tiny`, UCR 001",
        heart_beats(shared, work),
        0.02,
        ["--preset", "tiny", "--steps", "600"],
    )
    yield Case(
        "autoencoder",
        "autoencoder `ad01`, ToyCar",
        clips(shared, work),
        0.02,
        ["--preset", "ad01", "--window", "5"],
    )


def heart_beats(shared: Path, work: Path) -> Path:
    """The first series of UCR, one channel: its part for training, and the rest with its one anomaly."""
    data, (source,) = work / "ucr", (shared / "series" / "ucr").glob("001_*.csv.gz")
    rows = np.loadtxt(source, delimiter=",", skiprows=1)
    for folder, part in (("train/good", rows[rows[:, 1] == 1]), ("test/beats", rows[rows[:, 1] == 0])):
        (data / folder).mkdir(parents=True, exist_ok=True)
        np.savetxt(data / folder / "001.csv", part[:, [0, 2]], "%g", ",", header="value,label", comments="")
    return data


def streets(work: Path) -> Path:
    """Scans of generated streets, with corrupted copies."""
    data = work / "streets"
    return data if data.exists() else make_scenes(data, 5, n_train=64, n_test_good=64, per_corruption=8)


def clips(shared: Path, work: Path) -> Path:
    """ToyCar's log-mel clips, in the folders of an image set."""
    data, source = work / "toycar", shared / "audio" / "toycar_ad01_logmel" / "id_01"
    for old, new in (
        ("train/normal", "train/good"),
        ("test/normal", "test/good"),
        ("test/anomaly", "test/anomaly"),
    ):
        (data / new).mkdir(parents=True, exist_ok=True)
        for clip in (source / old).glob("*.npy"):
            np.save(data / new / clip.name, np.load(clip).astype(np.float32))
    return data


def compiled(case: Case, work: Path) -> tuple[Path, Path, dict[str, Any]]:
    """The model, the bundle, and the compile's report."""
    model, bundle, printed = (
        work / case.detector,
        work / f"{case.detector}.edgead",
        work / f"{case.detector}.json",
    )
    if not (model / "model.json").exists():
        edge_ad("fit", case.detector, "--data", case.data, "--out", model, *case.fit)
    if not printed.exists():
        wanted = [word for name in BOARDS for word in ("--target", name)]
        printed.write_text(edge_ad("compile", model, *wanted, "--data", case.data, "--max-false-alarms", case.rate,
                                   "--out", bundle, "--json"))  # fmt: skip
    report: dict[str, Any] = json.loads(printed.read_text())
    return model, bundle, report


def integers(case: Case, model: Path, payload: Any, count: int) -> Iterator[Integers]:
    """The ends of the input's range, noise, and real inputs over and over, as the port takes them."""
    detector, port = load_detector(model), port_spec(payload.options["input"])
    spec = payload.input or detector.input
    limits, rng = np.iinfo(port.dtype), np.random.default_rng(1)
    ends = [np.full(port.shape, end, port.dtype) for end in (limits.min, limits.max)]
    noise = [rng.integers(limits.min, limits.max + 1, port.shape).astype(port.dtype)
             for _ in range(count // 2 - len(ends))]  # fmt: skip
    held = find_normals(detector.splits, case.data, detector.input).threshold
    real = cycle(chain(held, find_labelled(case.data, detector.input).inputs))
    yield from ends
    yield from noise
    for acquired in islice(real, count - len(ends) - len(noise)):
        yield port.quantize(preprocess(spec.preprocess, acquired))


def outputs(engine: Engine, inputs: list[Integers]) -> list[dict[str, Integers]]:
    return [engine.infer(values) for values in inputs]


def equal(
    bundle: Path, target: str, state: Path, inputs: list[Integers], wanted: list[dict[str, Integers]]
) -> int:
    """How many of the inputs a board gives the same outputs for, all of them and to the bit."""
    with load(str(bundle), target=target) as live, contextlib.ExitStack() as opened:
        payload = live.manifest.payload(target)
        connection = opened.enter_context(Connection(BoardAddress(board=BOARDS[target], state=state)))
        engine = open_engine(payload, live.folder, connection=connection)
        opened.callback(engine.close)
        return sum(
            set(got) == set(expected) and all(np.array_equal(got[name], expected[name]) for name in expected)
            for got, expected in (
                (engine.infer(values), one) for values, one in zip(inputs, wanted, strict=True)
            )
        )


def on_this_machine(
    bundle: Path, model: Path, case: Case, count: int
) -> tuple[list[Integers], list[dict[str, Integers]]]:
    """The inputs, and what the engine of this machine gives for them."""
    with load(str(bundle), target="posix") as live:
        payload = live.manifest.payload("posix")
        inputs = list(integers(case, model, payload, count))
        engine = open_model("image", live.folder / payload.model, payload.options)
        return inputs, outputs(engine, inputs)


def row(case: Case, target: str, bundle: Path, report: dict[str, Any], state: Path, agreed: str) -> list[str]:
    """What the board says of itself once the bundle is on it."""
    verified = json.loads(edge_ad("verify", bundle, "--board", BOARDS[target], "--state", state, "--json"))
    counted = verified["engine"]["details"]
    payload = next(p for p in json.loads(edge_ad("inspect", bundle, "--json"))["manifest"]["payloads"]
                   if p["target"] == target)  # fmt: skip
    image, arena = (int(payload["budget"]["parts"][name]) for name in ("image", "arena"))
    flash = (
        "–"
        if target == "posix"
        else f"{image + _firmware_bytes(find(BOARDS[target].removeprefix('qemu:')).name):,}"
    )
    static, stack = int(counted["static"]), int(counted["stack_used"])
    ram = "–" if target == "posix" else f"{arena + static + stack:,}"
    instructions = f"{int(counted['instructions']):,}" if "instructions" in counted else "–"
    return [case.title, BOARDS[target].removeprefix("qemu:"), flash, ram, f"{arena:,}", instructions, agreed]


def accuracy(case: Case, report: dict[str, Any]) -> list[str]:
    """Boards give the same scores: one line a detector."""
    payload = next(p for p in report["payloads"] if p["target"] == "posix")
    test, asked = payload["test"], payload["thresholds"]["compiled"]["requested_rate"]
    alarms, series = test["false_alarms"], test["series_float"]
    vus = (
        ["–", "–"]
        if series is None
        else [f"{test[n]['vus_pr']:.3f}" for n in ("series_float", "series_compiled")]
    )
    told = [f"{alarms[name]['rate']:.1%}" for name in ("kept", "recalibrated")]
    low, high = alarms["predicted"]
    return [case.title, f"{test['auroc_float']['value']:.4f}", f"{test['auroc_compiled']['value']:.4f}", *vus,
            f"{asked:.0%}", *told, f"{low:.1%} to {high:.1%}", "yes" if alarms["within"] else "**no**",
            f"{test['n_normal']} + {test['n_anomalous']}"]  # fmt: skip


def table(heads: list[str], rows: Iterator[list[str]]) -> None:
    print("\n| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for cells in rows:
        print("| " + " | ".join(cells) + " |", flush=True)


@click.command(help=__doc__.splitlines()[0])
@click.option(
    "--work", type=click.Path(path_type=Path), required=True, help="Folder for models, bundles and flash."
)
@click.option("--detector", "detectors", multiple=True, help="Only these.")
@click.option(
    "--inputs", "count", default=500, show_default=True, help="Inputs that each board is compared on."
)
def main(work: Path, detectors: tuple[str, ...], count: int) -> None:
    shared = Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data"))
    work.mkdir(parents=True, exist_ok=True)
    chosen = [case for case in cases(shared, work) if not detectors or case.detector in detectors]
    made = {case.detector: compiled(case, work) for case in chosen}
    table(["detector and set", "AUROC float", "board", "VUS-PR float", "board", "false alarms asked",
           "at the float threshold", "at the board's own", "what the data allow", "within", "normal + anomalous"],
          (accuracy(case, made[case.detector][2]) for case in chosen))  # fmt: skip
    table(["detector and set", "board", "flash", "memory", "arena", "instructions", "equal to the host"],
          chain.from_iterable(_boards(case, *made[case.detector], work, count) for case in chosen))  # fmt: skip


def _boards(
    case: Case, model: Path, bundle: Path, report: dict[str, Any], work: Path, count: int
) -> Iterator[list[str]]:
    inputs, wanted = on_this_machine(bundle, model, case, count)
    state = work / "state"
    for target, board in BOARDS.items():
        edge_ad("flash", bundle, "--board", board, "--state", state, "--json")
        agreed = equal(bundle, target, state, inputs, wanted)
        yield row(case, target, bundle, report, state, f"{agreed} of {len(inputs)}")


if __name__ == "__main__":
    main()
