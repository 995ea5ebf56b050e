"""The autoencoder on MLPerf Tiny's ToyCar features, by clip: float, INT8 on Linux, and a board's integers.

A window is five frames of 128 mel bins, 640 values; a clip's score is the mean over its windows, as MLPerf Tiny has it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from edge_ad import targets
from edge_ad.bundle.manifest import HeadSpec
from edge_ad.compile import board_payload
from edge_ad.compile.capture import capture
from edge_ad.compile.scores import Scores, batches, score
from edge_ad.compile.target import Calibration, Lowered
from edge_ad.compile.verify import open_lowered
from edge_ad.data.inputs import find_normals
from edge_ad.detectors.autoencoder.config import PRESETS
from edge_ad.detectors.autoencoder.detector import Autoencoder
from edge_ad.detectors.autoencoder.fit import fit
from edge_ad.metrics.ranking import auroc

WINDOW = 5


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True,
              help="Clips (frames, 128) as .npy in train/normal, test/normal and test/anomaly.")  # fmt: skip
@click.option("--preset", "presets", multiple=True, default=("ad01", "micro"))
@click.option("--steps", type=int)
def main(data: Path, presets: tuple[str, ...], steps: int | None) -> None:
    """Fit on the training clips, lower, score the test clips."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        good = work / "data" / "train" / "good"
        good.mkdir(parents=True)
        for clip in sorted((data / "train" / "normal").glob("*.npy")):
            np.save(good / clip.name, np.load(clip).astype(np.float32))
        for preset in presets:
            changes = {"window": WINDOW} | ({} if steps is None else {"steps": steps})
            config = PRESETS[preset].model_copy(update=changes)
            detector = fit(config, work / "data", work / preset)
            _measure(detector, work, data)


def _measure(detector: Autoencoder, work: Path, data: Path) -> None:
    captured = capture(detector)
    normals = find_normals(detector.splits, work / "data", detector.input)
    calibration = Calibration(lambda: batches(normals.calibration, detector.input), len(normals.calibration))
    forms: list[tuple[str, Lowered, HeadSpec]] = []
    for name, precision in (
        ("openvino-cpu", "fp32"),
        ("openvino-cpu", "int8"),
        ("litert", "int8"),
        ("posix", "int8"),
    ):
        target = targets.get(name)
        lowered = target.lower(captured, precision, calibration if precision == "int8" else None)
        head = detector.fit_head([], {})
        if lowered.board is not None:
            lowered, head = board_payload.finish(lowered, head)
        forms.append((f"{name} {precision}", lowered, head))
    held: dict[str, Scores] = {}
    for number, (name, lowered, head) in enumerate(forms):
        engine = open_lowered(
            targets.get(name.split()[0]), lowered, work / f"{detector.config.preset}-{number}"
        )
        held[name] = score(engine, head, batches(normals.threshold, detector.input))
        clips = {
            kind: [
                float(score(engine, head, _windows(detector, clip)).scores.mean())
                for clip in sorted((data / "test" / kind).glob("*.npy"))
            ]
            for kind in ("normal", "anomaly")
        }
        labels = [kind == "anomaly" for kind, values in clips.items() for _ in values]
        area = auroc(labels, [value for values in clips.values() for value in values])
        low, high = area.interval
        told = [
            f"{detector.config.preset} {name}: AUROC by clip {area.value:.4f} ({low:.3f} to {high:.3f})",
            f"mean of normal windows {held[name].scores.mean():.4f}",
            f"correlation of ranks with float {_ranks(held[forms[0][0]], held[name]):.4f}",
            f"{lowered.cost.macs} MAC, {lowered.cost.parameters} parameters",
            f"model {len(lowered.files[lowered.model])} bytes",
        ]
        if lowered.board is not None:
            told.append(f"arena {lowered.cost.activation_bytes} bytes")
        print(", ".join(told))


def _windows(detector: Autoencoder, clip: Path) -> Iterator[np.ndarray]:
    """A clip's windows, one a frame, as the network takes them."""
    from edge_ad.runtime.preprocess import preprocess

    frames = np.load(clip).astype(np.float32)
    for first in range(len(frames) - WINDOW + 1):
        yield preprocess(detector.input.preprocess, frames[first : first + WINDOW])


def _ranks(a: Scores, b: Scores) -> float:
    places = [np.argsort(np.argsort(s.scores)) for s in (a, b)]
    return float(np.corrcoef(*places)[0, 1])


if __name__ == "__main__":
    main()
