"""The autoencoder of AD01's shape on real data: AUROC in float, as INT8 on Linux, and as boards compute it.

    python tests/bench/autoencoder.py --work work/autoencoder

ToyCar (log-mel features of whole clips as they are published, 5 frames to a vector: no raw sound was to be had) and
CWRU (vibration, from raw samples). Everything goes through the commands; fits that are there already are kept. Scores
are of windows, and of clips as DCASE 2020 and MLPerf Tiny have them: the mean over a clip's windows. Prints Markdown.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from sklearn.metrics import roc_auc_score

from edge_ad.compile.scores import batches, score
from edge_ad.data.inputs import find_labelled
from edge_ad.runtime.deployment import load
from edge_ad.runtime.engines import open_model
from edge_ad.runtime.engines.image import ImageEngine

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from footprint import footprint  # noqa: E402

BOARD = "cortex-m4"
MACHINES = {"mps2-an386": "cortex-m4", "mps2-an500": "cortex-m7", "mps3-an547": "cortex-m55"}
TARGETS = ("openvino-cpu", "posix", BOARD)
RATE = 0.02


@dataclass(frozen=True)
class Set:
    """A data set as edge-ad takes it, and what else its fit is told."""

    name: str
    folder: Path
    options: tuple[str, ...]


def toycar(source: Path, folder: Path) -> Set:
    """Each clip is a series of frames, its bands the channels."""
    for ours, theirs in (
        ("train/good", "train/normal"),
        ("test/good", "test/normal"),
        ("test/anomaly", "test/anomaly"),
    ):
        (folder / ours).mkdir(parents=True, exist_ok=True)
        for clip in sorted((source / "id_01" / theirs).glob("*.npy")):
            np.save(folder / ours / clip.name, np.load(clip).astype(np.float32))
    return Set("ToyCar, published features", folder, ("--window", "5"))


def vibration(source: Path, folder: Path) -> Set:
    """The drive end of each record; of the one healthy record the first 70 % to fit on, the rest to test."""
    for file in sorted(source.glob("*.npz")):
        samples = np.load(file)["DE"].ravel().astype(np.float32)
        name = file.stem.removeprefix("1797_").removesuffix("_DE48")
        parts = {f"test/{name}": samples}
        if name == "Normal":
            cut = int(0.7 * len(samples))
            parts = {"train/good": samples[:cut], "test/good": samples[cut:]}
        for part, rows in parts.items():
            (folder / part).mkdir(parents=True, exist_ok=True)
            np.save(folder / part / f"{name}.npy", rows)
    return Set("CWRU, raw samples", folder, ("--features", "log-mel", "--rate-hz", "48000"))


def run(*arguments: str | Path) -> str:
    """One command of edge-ad; what it printed."""
    command = [sys.executable, "-m", "edge_ad", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return done.stdout


def clips(bundle: Path, target: str, data: Path) -> dict[tuple[str, Path], list[float]]:
    """Scores of the windows of each test clip, by kind and path, by the engine that the compile used."""
    with load(str(bundle), target=target) as live:
        payload = live.manifest.payload(target)
        model, options = live.folder / payload.model, dict(payload.options)
        # Plain kernels give on this machine what every board gives, to the bit.
        engine = (
            ImageEngine(model, **options)
            if payload.engine == "board"
            else open_model(payload.engine, model, options)
        )
        labelled = find_labelled(data, live.manifest.input)
        values = score(engine, payload.head, batches(labelled.inputs, live.manifest.input_of(payload))).scores
    found: dict[tuple[str, Path], list[float]] = {}
    for item, value in zip(labelled.items, values, strict=True):
        found.setdefault((item.kind, item.path), []).append(float(value))
    return found


def auroc(found: dict[tuple[str, Path], list[float]]) -> tuple[float, float, int]:
    """Of windows, of clips, and how many clips there are."""
    windows = [(kind != "good", value) for (kind, _), values in found.items() for value in values]
    means = [(kind != "good", float(np.mean(values))) for (kind, _), values in found.items()]
    of_windows, of_clips = (float(roc_auc_score(*zip(*pairs, strict=True))) for pairs in (windows, means))
    return of_windows, of_clips, len(means)


def false_alarms(found: dict[tuple[str, Path], list[float]], threshold: float) -> tuple[float, float]:
    """Share of normal and of anomalous windows above a threshold."""
    normal = [v for (kind, _), values in found.items() if kind == "good" for v in values]
    anomalous = [v for (kind, _), values in found.items() if kind != "good" for v in values]
    return float((np.array(normal) > threshold).mean()), float((np.array(anomalous) > threshold).mean())


def fit(chosen: Set, preset: str, work: Path, steps: int) -> Path:
    """The model folder, fitted where it is not there."""
    model = work / f"model-{preset}"
    if not (model / "model.json").exists():
        run("fit", "autoencoder", "--preset", preset, *chosen.options, "--data", chosen.folder, "--out", model,
            "--steps", steps)  # fmt: skip
    return model


def rows(chosen: Set, preset: str, work: Path, steps: int) -> list[str]:
    """Fit, compile and measure one set."""
    model, bundle = fit(chosen, preset, work, steps), work / f"{preset}.edgead"
    told = run("compile", model, *(a for t in TARGETS for a in ("--target", t)), "--data", chosen.folder,
               "--max-false-alarms", RATE, "--out", bundle, "--json")  # fmt: skip
    report = json.loads(told)
    lines = []
    for payload in report["payloads"]:
        target = payload["target"]
        found = clips(bundle, "posix" if target == BOARD else target, chosen.folder)
        of_windows, of_clips, n = auroc(found)
        raised, caught = false_alarms(found, payload["thresholds"]["compiled"]["value"])
        if target == "posix":
            continue
        if target == TARGETS[0]:
            lines.append(
                f"| {chosen.name} | {preset} | float | {payload['test']['auroc_float']['value']:.4f} | | | | |"
            )
        parts = payload["budget"]["parts"]
        size = f"{parts['image']:,} / {parts['arena']:,}" if "image" in parts else ""
        figures = f"{of_windows:.4f} | {of_clips:.4f} ({n}) | {raised:.1%} | {caught:.1%} | {size}"
        lines.append(f"| {chosen.name} | {preset} | {target} | {figures} |")
    return lines


def memory(chosen: Set, preset: str, work: Path, steps: int) -> list[str]:
    """What the model costs by itself on each board, as C sources with engine and port."""
    lines, model = [], fit(chosen, preset, work, steps)
    for machine, target in MACHINES.items():
        emitted = work / f"{preset}-{target}"
        run("compile", model, "--target", target, "--data", chosen.folder, "--max-false-alarms",
            RATE, "--out", work / f"{preset}-{target}.edgead", "--emit-c", emitted)  # fmt: skip
        text = (emitted / "model.h").read_text()
        arena = int(re.findall(r"MODEL_ARENA_BYTES (\d+)u", text)[0])
        cost = footprint(emitted, machine, arena)
        lines.append(
            f"| {chosen.name} | {preset} | {target} | {cost.flash:,} | {cost.ram:,} | {cost.arena:,} | {cost.static:,} "
            f"| {cost.stack:,} | {cost.instructions:,} |"
        )
    return lines


@click.command()
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/autoencoder"), show_default=True)
@click.option("--steps", type=int, default=3000, show_default=True)
@click.option("--preset", "presets", multiple=True, default=["ad01"], show_default=True)
@click.option(
    "--costs", is_flag=True, help="Only flash, memory and instructions, which do not depend on the fit."
)
def main(work: Path, steps: int, presets: tuple[str, ...], costs: bool) -> None:
    data = Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data"))
    print(
        "| set | preset | form | AUROC, windows | AUROC, clips | false alarms | found | image / arena, bytes |"
    )
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    told: list[str] = []
    for name, make in (("audio/toycar_ad01_logmel", toycar), ("vibration/cwru_48k", vibration)):
        if not (data / name).is_dir():
            print(f"{name} is not there: set EDGE_AD_DATA", file=sys.stderr)
            continue
        place = work / name.split("/")[1]
        chosen = make(data / name, place / "data")
        for preset in presets:
            if not costs:
                print("\n".join(rows(chosen, preset, place, steps)), flush=True)
            told += memory(chosen, preset, place, steps)
    print(
        "\n| set | preset | target | flash, bytes | memory, bytes | arena | static | stack | instructions |"
    )
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    print("\n".join(told))


if __name__ == "__main__":
    main()
