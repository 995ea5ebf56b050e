"""STARNet `micro` on a board beside its float form: AUROC of each figure for each corruption, and what it costs.

    python tests/bench/starnet_boards.py --repeats 8
    python tests/bench/starnet_boards.py --generated --n-fit 64 --n-test 64

Both forms search for regret whatever their score is. The board's figures are those of its own code on this machine,
which boards equal to the bit; instructions are counted on QEMU's boards where they are installed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support")]

import board_images  # noqa: E402
from starnet_corruptions import PAIRS, _auroc, corrupted_copies, fitted, scans_of  # noqa: E402

from edge_ad import targets  # noqa: E402
from edge_ad.compile import board_payload  # noqa: E402
from edge_ad.compile.capture import capture  # noqa: E402
from edge_ad.compile.scores import batches, run  # noqa: E402
from edge_ad.compile.target import Calibration  # noqa: E402
from edge_ad.compile.verify import open_lowered  # noqa: E402
from edge_ad.data.inputs import find_normals  # noqa: E402
from edge_ad.detectors.starnet.config import SCORES  # noqa: E402
from edge_ad.firmware_bridge.boards import find  # noqa: E402
from edge_ad.runtime.heads import evaluate  # noqa: E402
from edge_ad.runtime.heads.likelihood_regret import two_sided  # noqa: E402

FIRMWARE_KIB, RAM_KIB = 256, 64  # the aim, flash and memory


@click.command()
@click.option(
    "--scans", type=click.Path(path_type=Path), help="Folder of clean scans in time order (default: KITTI)."
)
@click.option("--generated", is_flag=True, help="Generated streets, four scans each, instead of --scans.")
@click.option("--n-fit", default=12, help="The first so many are for fit, calibration and threshold.")
@click.option("--n-test", default=6, help="The last so many are tested, clean and corrupted.")
@click.option("--preset", default="micro")
@click.option("--repeats", default=1, help="Corrupted copies of each test scan.")
def main(scans: Path | None, generated: bool, n_fit: int, n_test: int, preset: str, repeats: int) -> None:
    """Print Markdown tables."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        paths = scans_of(root, scans, generated, n_fit, n_test)
        detector = fitted(preset, {}, paths[:n_fit], root)
        spec = detector.input
        normals = find_normals(detector.splits, root / "data", spec)
        calibration = list(batches(normals.calibration, spec))
        clean, corrupted = corrupted_copies(spec, paths[-n_test:], repeats)
        float_, board = _float(detector, calibration, root), _board(detector, calibration, root)
        _print_aurocs(float_, board, clean, corrupted)
        _print_costs(board, calibration[0])


class _Figures:
    """The two-sided score of each figure, by one form. form: the board's, with its head."""

    def __init__(self, head, also, form=None):
        self.ranges, self._also, self.form = head.params["ranges"], also, form

    def __call__(self, inputs):
        found = [self._also(x) for x in inputs]
        return {n: two_sided(np.concatenate([f[n].ravel() for f in found]), self.ranges[n]) for n in SCORES}


def _float(detector, calibration, root: Path) -> _Figures:
    target = targets.get("openvino-cpu")
    engine = open_lowered(target, target.lower(capture(detector), "fp32", None), root / "float")
    head = _searching(detector.fit_head(run(engine, calibration), engine.parts))
    print("float:", detector.decisions()[-1][1])
    return _Figures(head, lambda x: evaluate(head, engine.infer(x), engine.parts).also)


def _board(detector, calibration, root: Path) -> _Figures:
    target = targets.get("posix")
    given = Calibration(lambda: iter(calibration), len(calibration))
    lowered = target.lower(capture(detector), "int8", given)
    engine = open_lowered(target, lowered, root / "board")
    outputs = (lowered.board.dequantized(made) for made in run(engine, calibration))
    head = _searching(detector.fit_head(outputs, engine.parts))
    print("board:", detector.decisions()[-1][1])
    finished, _ = board_payload.finish(lowered, head)
    scored = open_lowered(target, finished, root / "scored")
    return _Figures(head, lambda x: finished.board.dequantized(scored.infer(x)), finished.board)


def _searching(head):
    return head.model_copy(update={"params": {**head.params, "search": True, "score": "regret"}})


def _print_aurocs(float_: _Figures, board: _Figures, clean, corrupted) -> None:
    normal = float_(clean), board(clean)
    print(f"\n| corruption | severity | {' | '.join(f'{n}, float | board' for n in SCORES)} |")
    print(f"| --- | --- |{' --- | --- |' * len(SCORES)}")
    changes = {n: [] for n in SCORES}
    for pair in PAIRS:
        scores = float_(corrupted[pair]), board(corrupted[pair])
        cells = []
        for n in SCORES:
            a, b = (_auroc(before[n], after[n]) for before, after in zip(normal, scores, strict=True))
            changes[n].append(abs(a - b))
            cells += [f"{a:.3f}", f"{b:.3f}"]
        print(f"| {' | '.join(pair)} | {' | '.join(cells)} |", flush=True)
    for n in SCORES:
        print(
            f"change of {n} from float to board: at most {max(changes[n]):.4f}, mean {np.mean(changes[n]):.4f}"
        )


def _print_costs(board: _Figures, example) -> None:
    print("\n| board | image bytes | arena bytes | MACs | instructions |\n| --- | --- | --- | --- | --- |")
    form = board.form
    given = form.input.quantize(example)
    for name, machine in board_images.MACHINES.items():
        image = form.image(machine.kernels)
        counted = "not installed"
        if board_images.missing() is None:
            raw = np.frombuffer(form.input.raw(given), np.int8)
            (result,) = board_images.run_on(name, [(image, [raw])], count=True)
            expected = b"".join(spec.raw(form.reference(given)[n]) for n, spec in form.outputs.items())
            assert result.status == 0 and result.outputs[0].tobytes() == expected, f"{name} differs"
            counted = f"{result.instructions[0] / 1e6:.1f} M"
        print(f"| {name} | {len(image.content)} | {image.plan.size} | {image.macs / 1e6:.1f} M | {counted} |")
    room = find("mps2-an500")
    image = form.image("dsp")
    for what, bytes_, kib in (
        ("flash: image and firmware's room", len(image.content) + room.firmware_bytes, FIRMWARE_KIB),
        ("memory: arena, static and stack", image.plan.size + room.reserved_bytes, RAM_KIB),
    ):
        print(f"{what}: {bytes_} bytes, {bytes_ / 1024:.0f} of {kib} KiB")


if __name__ == "__main__":
    main()
