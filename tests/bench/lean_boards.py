"""What each detector takes of a board in firmware that holds its operators alone, beside the firmware for all.

    python tests/bench/lean_boards.py --work work/lean
    python tests/bench/lean_boards.py --work work/lean --own

Fits are as short as they can be and sets are generated (but for ToyCar's features, which EDGE_AD_DATA names): neither
flash nor memory nor instructions depend on them. Everything goes through the commands: compile for three boards, flash
--firmware lean, verify. --own: the image with engine and port alone, without link, slots and receive ring, as who links
the sources of --emit-c has them. Bytes; prints Markdown. What is there in --work already is kept.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np

from edge_ad.bundle.archive import open_bundle
from edge_ad.compile import emit_c
from edge_ad.data.sample_sounds import make_sounds
from edge_ad.data.samples import make_parts
from edge_ad.data.scenes import make_scenes
from edge_ad.firmware_bridge.boards import find
from edge_ad.firmware_bridge.build import build_firmware, flash_bytes
from edge_ad.firmware_bridge.flasher import read_header
from edge_ad.firmware_bridge.parts import parts_of_image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from footprint import footprint  # noqa: E402

BOARDS = {"mps2-an386": "cortex-m4", "mps2-an500": "cortex-m7", "mps3-an547": "cortex-m55"}
HEADS = ("model", "board", "operators", "image", "lean firmware", "flash", "flash, full firmware", "arena", "static",
         "stack used", "memory", "instructions")  # fmt: skip
OWN_HEADS = ("model", "board", "flash", "arena", "static", "stack used", "memory", "instructions")
MODEL_H = """#include "engine/edge_engine.h"
/* -DEDGE_BUILT={built:#x}ull */
#define MODEL_IMAGE_BYTES {image}u
#define MODEL_ARENA_BYTES {arena}u
extern const unsigned char model_image[MODEL_IMAGE_BYTES];
"""


@dataclass(frozen=True)
class Case:
    """A detector as it is fitted here; make: writes the data set to a folder that is not there yet."""

    name: str
    detector: str
    preset: str
    make: Callable[[Path], object]
    options: tuple[str, ...]


def toycar(folder: Path) -> None:
    """Frames of log-mel features, as autoencoder.py has them; eight clips."""
    data = Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data"))
    (folder / "train" / "good").mkdir(parents=True)
    for clip in sorted((data / "audio/toycar_ad01_logmel/id_01/train/normal").glob("*.npy"))[:8]:
        np.save(folder / "train" / "good" / clip.name, np.load(clip).astype(np.float32))


def walks(folder: Path, channels: int) -> None:
    """Series of slow noise."""
    (folder / "train" / "good").mkdir(parents=True)
    rng = np.random.default_rng(channels)
    for number in range(2):
        steps = rng.normal(0, 1, (6000, channels))
        slow = np.stack([np.convolve(column, np.ones(9) / 9, "same") for column in steps.T], axis=1)
        np.save(folder / "train" / "good" / f"{number}.npy", slow.astype(np.float32))


def parts(folder: Path) -> object:
    return make_parts(folder, 5, size=96, n_train=40, n_test_good=3, n_defective=3)


def sounds(folder: Path) -> object:
    return make_sounds(folder, 1, n_train=8, n_test=1)


def scenes(folder: Path) -> object:
    return make_scenes(folder, 3, n_train=24, n_test_good=3, per_corruption=3, kinds=["crosstalk"],
                       severities=["heavy"], sensor="32-beam")  # fmt: skip


_SERIES, _SOUND = ("--rate-hz", "100"), ("--features", "log-mel")
CASES = (
    Case("autoencoder `ad01`, features", "autoencoder", "ad01", toycar, ("--window", "5")),
    Case("autoencoder `ad01`, samples", "autoencoder", "ad01", sounds, _SOUND),
    Case("autoencoder `micro`, features", "autoencoder", "micro", toycar, ("--window", "5")),
    Case("autoencoder `micro`, samples", "autoencoder", "micro", sounds, _SOUND),
    Case("TSPulse `tiny`, 1 channel", "tspulse", "tiny", lambda f: walks(f, 1), _SERIES),
    Case("TSPulse `tiny`, 3 channels", "tspulse", "tiny", lambda f: walks(f, 3), _SERIES),
    Case("STARNet `micro`", "starnet", "micro", scenes, ("--score", "regret")),
    Case("EfficientAD `micro`", "efficientad", "micro", parts, ()),
    Case("FADeR `micro`", "fader", "micro", parts, ()),
)  # fmt: skip


def edge_ad(*words: object) -> str:
    """One command; its standard output. What it says ends the bench where it fails."""
    command = [sys.executable, "-m", "edge_ad", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return done.stdout


def compiled(case: Case, work: Path) -> Path:
    """The bundle for all three boards."""
    place = work / "-".join(case.name.replace("`", "").replace(",", "").split())
    data, model, bundle = place / "data", place / "model", place / "model.edgead"
    if not data.exists():
        place.mkdir(parents=True, exist_ok=True)
        case.make(data)
    if not bundle.exists():
        edge_ad("fit", case.detector, "--preset", case.preset, *case.options, "--data", data, "--out", model,
                "--steps", 20, "--threads", 1)  # fmt: skip
        targets = [word for target in BOARDS.values() for word in ("--target", target)]
        edge_ad("compile", model, *targets, "--data", data, "--max-false-alarms", 0.2, "--out", bundle)
    return bundle


def row(case: Case, bundle: Path, board: str, state: Path) -> str:
    """Flash it with lean firmware, have the board prove it and count."""
    where = ("--board", f"qemu:{board}", "--state", state)
    flashed = json.loads(edge_ad("flash", bundle, *where, "--firmware", "lean", "--json"))
    told = json.loads(edge_ad("verify", bundle, *where, "--json"))["engine"]["details"]
    image, lean = flashed["length"], flashed["firmware_bytes"]
    arena, static, stack = (int(told[key]) for key in ("arena", "static", "stack_used"))
    full = flash_bytes(build_firmware(find(board)))
    cells = (case.name, board, len(flashed["operators"]), image, lean, image + lean, image + full, arena, static, stack,
             arena + static + stack, int(told["instructions"]))  # fmt: skip
    return line(cells)


def line(cells: tuple[str | int, ...]) -> str:
    return "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells) + " |"


def own_row(case: Case, bundle: Path, board: str, folder: Path) -> str:
    """Without the firmware: the image as a constant, with engine and port."""
    with open_bundle(bundle) as source:
        image = source.read(source.manifest.payload(BOARDS[board]).model)
    header = read_header(image)
    for name, path in emit_c.engine_sources(header.kernels):
        place = folder / "engine" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    (folder / "model.c").write_text(emit_c.source(SimpleNamespace(content=image)))
    sizes = {"built": parts_of_image(image).mask, "image": len(image), "arena": header.arena_bytes}
    (folder / "model.h").write_text(MODEL_H.format(**sizes))
    cost = footprint(folder, board, header.arena_bytes)
    return line(
        (case.name, board, cost.flash, cost.arena, cost.static, cost.stack, cost.ram, cost.instructions)
    )


@click.command(help=__doc__.splitlines()[0])
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for models and bundles.")
@click.option("--only", default="", help="Models whose name has this in it.")
@click.option("--own", is_flag=True, help="In firmware of one's own in place of this project's.")
def main(work: Path, only: str, own: bool) -> None:
    heads = OWN_HEADS if own else HEADS
    print(line(heads) + "\n| --- | --- |" + " ---: |" * (len(heads) - 2))
    for case in CASES:
        if only in case.name:
            bundle = compiled(case, work)
            for board in BOARDS:
                if own:
                    with tempfile.TemporaryDirectory() as folder:
                        print(own_row(case, bundle, board, Path(folder)), flush=True)
                else:
                    print(row(case, bundle, board, work / "state"), flush=True)


if __name__ == "__main__":
    main()
