"""TSPulse pruned: series beside the one of pruning.py, and where the instructions go.

    python tests/bench/pruning_tspulse.py series --budget 150 --work work/tspulse --series omi-1 --series valve1
    python tests/bench/pruning_tspulse.py operators work/pruning/asd-tspulse work/pruning/asd-tspulse-60

Fits are those of tspulse_series.py, kept in its folder. VUS-PR is the float network's; instructions and image bytes
(without golden vectors) are those of one channel on QEMU's mps2-an500. Prints Markdown.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import numpy.typing as npt
import torch
from tspulse_series import ROOT, Entity, Rows, Score, entities, fitted, held_back, measure, standardised

sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import board_images  # noqa: E402

from edge_ad.compile.integer.detectors.form import BoardForm  # noqa: E402
from edge_ad.compile.integer.detectors.tspulse.lowering import network_form  # noqa: E402
from edge_ad.compile.integer.detectors.tspulse.network import ErrorScales  # noqa: E402
from edge_ad.compile.integer.detectors.tspulse.quantize import integer_network  # noqa: E402
from edge_ad.compile.integer.lower import Builder  # noqa: E402
from edge_ad.compile.integer.records import Record  # noqa: E402
from edge_ad.compile.integer.records.moves import Fill  # noqa: E402
from edge_ad.compile.prune import PruningData, prune  # noqa: E402
from edge_ad.data.inputs import Inputs  # noqa: E402
from edge_ad.detectors import load_detector  # noqa: E402
from edge_ad.detectors.tspulse.detector import TsPulse  # noqa: E402
from edge_ad.runtime.heads.error_streams import error_streams  # noqa: E402

MACHINE = "mps2-an500"
MULTIPLE = 4  # of widths, a board's
FIT_STEP = 8  # rows between windows to prune with
Floats = npt.NDArray[np.float32]


def one_channel(detector: TsPulse) -> tuple[BoardForm, Floats]:
    """The network for one channel, and a window of noise: instructions depend on neither values nor channels."""
    rng = np.random.default_rng(0)
    windows = [
        rng.normal(0, 0.1, (1, 1, detector.config.context)).cumsum(2).astype(np.float32) for _ in range(4)
    ]
    network = integer_network(detector.config, detector.scaling, detector.core, windows)
    ones = np.ones((3, 1), np.int32)
    return network_form(network, ErrorScales(ones << 30, ones, 1)), windows[0]


def counted(form: BoardForm, window: Floats) -> tuple[int, int]:
    """Instructions of an inference, and bytes of the image."""
    image = form.image(board_images.MACHINES[MACHINE].kernels, [])
    given = form.input.quantize(window).ravel().view(np.int8)
    (result,) = board_images.run_on(MACHINE, [(image, [given])], count=True)
    assert result.status == 0
    return result.instructions[0], len(image.content)


@contextmanager
def without(name: str) -> Iterator[None]:
    """Images in which every operator of this name is one that sets four bytes."""
    step = Builder.step

    def other(self: Builder, record: Record, *, reads: Any, writes: Any, **more: Any) -> None:
        if name != record.C_NAME:
            return step(self, record, reads=reads, writes=writes, **more)
        return step(self, Fill(output=writes[-1], count=4, value=0), reads=[], writes=writes)

    with patch.object(Builder, "step", other):
        yield


def names_of(form: BoardForm) -> list[str]:
    seen: dict[str, None] = {}
    step = Builder.step

    def noted(self: Builder, record: Record, **more: Any) -> None:
        seen.setdefault(record.C_NAME)
        step(self, record, **more)

    with patch.object(Builder, "step", noted):
        form.image("plain", [])
    return list(seen)


def windows_score(entity: Entity, detector: TsPulse) -> Score:
    """The float network's score, its head fitted on held-back normal windows."""
    network = detector.simplified()

    @torch.no_grad()
    def errors(rows: Rows, ends: list[int]) -> Floats:
        whole = standardised([rows], detector.mean, detector.std)[0]
        windows = (whole[end - entity.context : end].T.contiguous()[None] for end in ends)
        return np.concatenate([network(window).numpy() for window in windows])

    held = [errors(x, entity.ends(x, first)) for x, first in held_back(entity)[1]]
    params = detector.fit_head([{"errors": np.concatenate(held)}], {}).params

    def score(rows: Rows, ends: list[int]) -> npt.NDArray[np.float64]:
        return error_streams(params, {"errors": errors(rows, ends)}).scores.astype(np.float64)

    return score


def normals(entity: Entity) -> PruningData:
    """Windows of the fit's rows, and those that scales come from."""
    rows, held = held_back(entity)
    length = entity.context
    fit = [x[end - length : end] for x in rows for end in range(length, len(x) + 1, FIT_STEP)]
    calibration = [x[end - length : end] for x, first in held for end in entity.ends(x, first)]
    return PruningData(*(Inputs(len(some), _reader(some)) for some in (fit, calibration)))


def _reader(items: list[Rows]) -> Callable[[], Iterator[Rows]]:
    return lambda: iter(items)


@click.group(help=__doc__.splitlines()[0])
def main() -> None:
    torch.set_num_threads(1)


@main.command()
@click.option("--budget", default=150.0, show_default=True, help="Seconds of training for each model.")
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for fitted weights.")
@click.option("--series", "chosen", multiple=True, required=True, help="Series to measure, by name.")
@click.option("--share", default=0.6, show_default=True)
@click.option("--seed", default=0, show_default=True)
def series(budget: float, work: Path, chosen: tuple[str, ...], share: float, seed: int) -> None:
    """VUS-PR, instructions and image bytes before and after."""
    work.mkdir(parents=True, exist_ok=True)
    heads = ["set", "series", "channels", "preset", "MACs left", "instructions left", "image left", "features",
             "relative error", "VUS-PR", "pruned", "change"]  # fmt: skip
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads), flush=True)
    for entity in entities(Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data"))):
        if entity.name not in chosen:
            continue
        detector = fitted(entity, budget, work)
        made = prune(detector, share, normals(entity), seed=seed, multiple=MULTIPLE)
        assert isinstance(made.detector, TsPulse)
        both = detector, made.detector
        before, after = (counted(*one_channel(one)) for one in both)
        whole, small = (measure(entity, windows_score(entity, one)).vus_pr for one in both)
        cells = [entity.set, entity.name, len(detector.mean), detector.config.preset,
                 f"{made.macs_after / made.macs_before:.0%}", f"{after[0] / before[0]:.0%}",
                 f"{after[1] / before[1]:.0%}", made.detector.core.time_embedding.out_features, f"{made.loss:.4f}",
                 f"{whole:.4f}", f"{small:.4f}", f"{small - whole:+.4f}"]  # fmt: skip
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


@main.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
def operators(models: tuple[Path, ...]) -> None:
    """Instructions by operator: what an inference takes less when others stand in its operators' places."""
    columns: list[dict[str, int]] = []
    for model in models:
        detector = load_detector(model)
        assert isinstance(detector, TsPulse)
        form, window = one_channel(detector)
        whole, _ = counted(form, window)
        found = {"all": whole}
        for name in names_of(form):
            with without(name):
                found[name] = whole - counted(form, window)[0]
        columns.append(found)
    print("| operator | " + " | ".join(model.name for model in models) + " |")
    print("| --- |" + " ---: |" * len(models))
    for name in columns[0]:
        cells = [f"{column.get(name, 0):,} ({column.get(name, 0) / column['all']:.0%})" for column in columns]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
