"""TSPulse on boards: what its integers cost in VUS-PR, and an inference's instructions, flash and memory.

    python tests/bench/tspulse_boards.py --budget 150 --work work/tspulse --series valve1 --series omi-2
    python tests/bench/tspulse_boards.py --instructions

VUS-PR of each series: of the float network, of LiteRT's INT8 file (residual sums in 8 bits) between a front and a tail
in float, and of the board's engine on this machine, which every board equals to the bit. Fits are those of
tspulse_series.py. Prints Markdown.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from tspulse_series import ROOT, Entity, Rows, Score, entities, fitted, held_back, measure, standardised

sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import board_images  # noqa: E402

from edge_ad.compile.capture import capture  # noqa: E402
from edge_ad.compile.integer.detectors.form import held_by_the_image, proven  # noqa: E402
from edge_ad.compile.integer.detectors.material import Material  # noqa: E402
from edge_ad.compile.integer.detectors.tspulse.lowering import lower, network_form  # noqa: E402
from edge_ad.compile.integer.detectors.tspulse.network import ErrorScales  # noqa: E402
from edge_ad.compile.integer.detectors.tspulse.quantize import integer_network  # noqa: E402
from edge_ad.compile.target import Calibration  # noqa: E402
from edge_ad.detectors.tspulse.config import PRESETS  # noqa: E402
from edge_ad.detectors.tspulse.detector import TsPulse  # noqa: E402
from edge_ad.detectors.tspulse.network import Core  # noqa: E402
from edge_ad.detectors.tspulse.scaling import Scaling  # noqa: E402
from edge_ad.firmware_bridge.boards import find  # noqa: E402
from edge_ad.firmware_bridge.build import build_firmware  # noqa: E402
from edge_ad.firmware_bridge.host_library import HostModel  # noqa: E402
from edge_ad.runtime.engines.litert import LiteRtEngine  # noqa: E402
from edge_ad.runtime.heads.error_streams import error_streams  # noqa: E402
from edge_ad.targets import litert  # noqa: E402

FORMS = ("float", "LiteRT INT8", "board")
SHAPES = (("micro", 1), ("micro", 3), ("tiny", 1), ("tiny", 3))
Floats = npt.NDArray[np.float32]


class Forms:
    """The errors of one fitted network on windows that end at given rows, in each form."""

    def __init__(self, entity: Entity, detector: TsPulse):
        self._context, self._detector = entity.context, detector
        self.held = [(x, entity.ends(x, first)) for x, first in held_back(entity)[1]]
        windows = [batch for x, ends in self.held for batch in self.batches(x, ends)][:300]
        captured, calibration = capture(detector), Calibration(lambda: iter(windows), len(windows))
        self._network = detector.simplified()
        self._litert = _litert_engine(litert.lower(captured, "int8", calibration))
        self.form = lower(Material(captured, calibration, "posix"))
        image = self.form.image("plain")
        self._board = HostModel(image.content, inputs=image.inputs, outputs=image.outputs)

    def batches(self, rows: Rows, ends: list[int]) -> Iterator[Floats]:
        whole = standardised([rows], self._detector.mean, self._detector.std)[0].numpy()
        return (np.ascontiguousarray(whole[end - self._context : end].T)[None] for end in ends)

    @torch.no_grad()
    def errors(self, form: str, rows: Rows, ends: list[int]) -> Floats:
        """(N, 3, C)."""
        return np.concatenate([self._one(form, batch) for batch in self.batches(rows, ends)])

    def _one(self, form: str, batch: Floats) -> Floats:
        if form == "float":
            found: Floats = self._network(torch.from_numpy(batch)).numpy()
            return found
        if form == "board":
            made = self._board.infer([self.form.input.quantize(batch)])[0]
            return self.form.outputs["errors"].dequantize(made)
        return self._litert.infer(batch)["errors"]


def _litert_engine(lowered) -> LiteRtEngine:
    folder = Path(tempfile.mkdtemp())
    for name, content in lowered.files.items():
        (folder / name).write_bytes(content)
    options = {key: value for key, value in lowered.options.items() if key != "part_outputs"}
    return LiteRtEngine(folder / lowered.model, kernels="fast", threads=1, **options)


def accuracy(data: Path, work: Path, budget: float, chosen: tuple[str, ...]) -> Iterator[str]:
    """Rows of the table of VUS-PR."""
    yield "| set | series | channels | context | " + " | ".join(FORMS) + " | change |"
    yield "|" + " --- |" * (5 + len(FORMS))
    for entity in entities(data):
        if entity.name not in chosen:
            continue
        detector = fitted(entity, budget, work)
        forms, found = Forms(entity, detector), []
        for form in FORMS:
            held = np.concatenate([forms.errors(form, x, ends) for x, ends in forms.held])
            params = detector.fit_head([{"errors": held}], {}).params
            found.append(measure(entity, _score(forms, form, params)).vus_pr)
        cells = " | ".join(f"{value:.4f}" for value in found)
        yield (f"| {entity.set} | {entity.name} | {len(detector.mean)} | {entity.context} | {cells} "
               f"| {found[2] - found[0]:+.4f} |")  # fmt: skip


def _score(forms: Forms, form: str, params: dict[str, Any]) -> Score:
    def score(rows: Rows, ends: list[int]) -> npt.NDArray[np.float64]:
        errors = forms.errors(form, rows, ends)
        return error_streams(params, {"errors": errors}).scores.astype(np.float64)

    return score


def instructions() -> Iterator[str]:
    """Rows of the table of instructions, flash and memory. Weights are random: nothing here depends on them."""
    yield "| board | preset | channels | instructions | a MAC | image | firmware | flash | arena |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for machine, board in board_images.MACHINES.items():
        text = _text_bytes(build_firmware(find(machine)))
        for preset, channels in SHAPES:
            form, windows = _random(preset, channels)
            given = [form.input.quantize(window) for window in windows[:1]]
            image = form.image(board.kernels, held_by_the_image(form, proven(form, given)))
            (result,) = board_images.run_on(machine, [(image, [given[0].ravel().view(np.int8)])], count=True)
            assert result.status == 0
            wanted = form.reference(given[0])
            np.testing.assert_array_equal(
                result.outputs[0].view(np.int32), [*wanted["errors"].ravel(), *wanted["score"].ravel()]
            )
            n, size = result.instructions[0], len(image.content)
            yield (f"| {machine} | {preset} | {channels} | {n:,} | {n / image.macs:.2f} | {size:,} | {text:,} "
                   f"| {size + text:,} | {image.plan.size:,} |")  # fmt: skip


def _random(preset: str, channels: int):
    torch.manual_seed(0)
    config, rng = PRESETS[preset], np.random.default_rng(0)
    windows = [
        rng.normal(0, 0.1, (1, channels, config.context)).cumsum(2).astype(np.float32) for _ in range(4)
    ]
    network = integer_network(config, Scaling(config), Core(config).eval(), windows)
    one = np.ones((3, channels), np.int32)
    return network_form(network, ErrorScales(one << 30, one, min(4, channels))), windows


def _text_bytes(elf: Path) -> int:
    """Code and constants of the whole firmware: engine, link and port."""
    listing = subprocess.run(
        ["arm-none-eabi-size", str(elf)], capture_output=True, text=True, check=True
    ).stdout
    return int(listing.splitlines()[1].split()[0])


@click.command(help=__doc__.splitlines()[0])
@click.option("--budget", default=150.0, show_default=True, help="Seconds of training for each model.")
@click.option("--work", type=click.Path(path_type=Path), help="Folder for fitted weights.")
@click.option("--series", "chosen", multiple=True, help="Series to measure, by name.")
@click.option("--instructions", "counted", is_flag=True, help="Count instructions on QEMU's boards instead.")
def main(budget: float, work: Path | None, chosen: tuple[str, ...], counted: bool) -> None:
    torch.set_num_threads(1)
    if counted:
        lines = instructions()
    elif work is None or not chosen:
        raise click.UsageError("give --work and --series, or --instructions")
    else:
        work.mkdir(parents=True, exist_ok=True)
        data = Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data"))
        lines = accuracy(data, work, budget, chosen)
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
