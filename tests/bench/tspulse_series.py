"""TSPulse on real series, float and INT8, beside an isolation forest and a PCA reconstruction.

    python tests/bench/tspulse_series.py --budget 120 --work work/tspulse

One model for each machine, sensor or test bed, fitted on what each set names as normal; scores are of the newest rows
of a window, every HOP rows, for all detectors alike. Fits that are there already are kept. Prints Markdown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import openvino
import torch
from safetensors.torch import load_file, save_file
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from edge_ad.bundle.manifest import Thresholds
from edge_ad.compile import openvino_ir
from edge_ad.compile.capture import Captured, capture
from edge_ad.compile.target import Calibration, Precision
from edge_ad.data.series_splits import SeriesSplits
from edge_ad.detectors.model_folder import load_modules, module_tensors
from edge_ad.detectors.tspulse.config import PRESETS, TsPulseConfig
from edge_ad.detectors.tspulse.detector import TsPulse
from edge_ad.detectors.tspulse.fit import channel_statistics, standardised
from edge_ad.detectors.tspulse.network import Core
from edge_ad.detectors.tspulse.scaling import Scaling
from edge_ad.detectors.tspulse.stages import STREAMS
from edge_ad.detectors.tspulse.training import Trainer
from edge_ad.metrics.drift import drift
from edge_ad.metrics.pate import pate
from edge_ad.metrics.threshold import calibrate_threshold
from edge_ad.metrics.vus import vus
from edge_ad.runtime.heads.error_streams import error_streams
from edge_ad.runtime.series import open_series
from edge_ad.targets.openvino_cpu import lower

ROOT = Path(__file__).resolve().parents[2]
HOP = 16
BUFFER = 64  # rows before and after an anomaly that count in part, in VUS and PATE
CONTEXTS = (512, 256, 128, 64)
SETS = ("skab", "smd", "asd", "nab", "ucr", "cwru_48k")
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
RATE = 0.05  # false alarms wanted of the thresholds whose drift is told
CWRU_ROWS = 24_000  # of each fault's record
CALIBRATION_SHARE = 0.2

Rows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.bool_]
Score = Callable[[Rows, list[int]], npt.NDArray[np.float64]]


@dataclass
class Entity:
    """train: stretches of normal rows. test: rows, their labels, and the first row that may be scored."""

    set: str
    name: str
    train: list[Rows]
    test: list[tuple[Rows, Labels, int]]

    @property
    def context(self) -> int:
        """The longest window that each training stretch holds three times."""
        shortest = min(len(stretch) for stretch in self.train)
        return next(c for c in CONTEXTS if 3 * c <= shortest)

    def ends(self, rows: Rows, first: int) -> list[int]:
        """Where scored windows end: whole hops from `first` on, as soon as a window is full."""
        return list(range(max(first + HOP, self.context), len(rows) + 1, HOP))


def table(path: Path, drop: tuple[str, ...] = ()) -> tuple[Rows, Labels, dict[str, Rows]]:
    """Channels (n, C), labels (n,), and the columns in `drop` by name."""
    names = [name for name in open_series(path).channels if name not in drop]
    chunks = list(open_series(path, names).chunks())
    labels = [np.zeros(len(c.values), np.bool_) if c.labels is None else c.labels for c in chunks]
    dropped = {
        name: np.concatenate([c.values[:, 0] for c in open_series(path, [name]).chunks()]) for name in drop
    }
    return np.concatenate([c.values for c in chunks]), np.concatenate(labels), dropped


def entities(data: Path) -> Iterator[Entity]:
    """What each set's README takes as normal, and what is tested."""
    series = data / "series"
    files = sorted((series / "skab" / "valve1").glob("*.csv"), key=lambda p: int(p.stem))
    skab = [table(path, ("changepoint",))[:2] for path in files]
    yield Entity("skab", "valve1", [x[:400] for x, _ in skab], [(x, y, 400) for x, y in skab])
    for name in ("smd", "asd"):
        for folder in sorted(p for p in (series / name).iterdir() if p.is_dir()):
            train, (test, labels, _) = table(folder / "train.csv.gz")[0], table(folder / "test.csv.gz")
            before = max(CONTEXTS)  # the test follows the training data in time
            joined = np.concatenate([train[-before:], test])
            padded = np.concatenate([np.zeros(before, np.bool_), labels])
            yield Entity(name, folder.name, [train], [(joined, padded, before)])
    for path in sorted((series / "nab_realknowncause").glob("*.csv")):
        x, y, _ = table(path)
        probation = int(0.15 * len(x))
        yield Entity("nab", path.stem, [x[:probation]], [(x, y, probation)])
    for path in sorted((series / "ucr").glob("*.csv.gz")):
        x, y, columns = table(path, ("is_train",))
        n = int(columns["is_train"].sum())
        yield Entity("ucr", path.name.split("_")[0], [x[:n]], [(x, y, n)])
    folder = data / "vibration" / "cwru_48k"
    records = {path.name: np.load(path) for path in sorted(folder.glob("*.npz"))}
    cwru = {name: np.stack([r["DE"], r["FE"]], 1).astype(np.float32) for name, r in records.items()}
    normal = cwru.pop("1797_Normal.npz")
    half, before = len(normal) // 2, max(CONTEXTS)
    faults = [(x[:CWRU_ROWS], np.ones(CWRU_ROWS, np.bool_), before) for x in cwru.values()]
    rest = (normal[half:], np.zeros(len(normal) - half, np.bool_), before)
    yield Entity("cwru_48k", "1797", [normal[:half]], [rest, *faults])


def held_back(entity: Entity) -> tuple[list[Rows], list[tuple[Rows, int]]]:
    """What to fit on, and what scales and thresholds come from: rows, and the first that is scored.

    The newest fifth of a stretch, whose windows begin in the part before it; of many short stretches, the last quarter
    of them.
    """
    if len(entity.train) > 4:
        cut = len(entity.train) * 3 // 4
        return entity.train[:cut], [(x, 0) for x in entity.train[cut:]]
    first = [max(int((1 - CALIBRATION_SHARE) * len(x)), entity.context + 8) for x in entity.train]
    return [x[:n] for x, n in zip(entity.train, first, strict=True)], list(
        zip(entity.train, first, strict=True)
    )


def fitted(entity: Entity, budget_s: float, work: Path) -> TsPulse:
    """TSPulse on this entity's fit rows; kept in `work`."""
    context = entity.context
    base = PRESETS["tiny" if context == 512 else "micro"]
    config = TsPulseConfig.model_validate({**base.model_dump(), "context": context, "steps": 10**6})
    rows, _ = held_back(entity)
    mean, std, _ = channel_statistics(rows)
    torch.manual_seed(config.seed)
    scaling, core = Scaling(config), Core(config)
    kept = work / f"{entity.set}-{entity.name}-{budget_s:g}.safetensors"
    if kept.exists():
        load_modules(load_file(kept), scaling=scaling, core=core)
    else:
        trainer = Trainer(config, standardised(rows, mean, std), scaling, core)
        trainer.run(budget_s, work / "checkpoint.pt")
        save_file({k: v.contiguous() for k, v in module_tensors(scaling=scaling, core=core).items()}, kept)
    window = {"length": context, "hop": HOP, "rate_hz": None, "channels": [f"c{i}" for i in range(len(mean))]}
    splits = SeriesSplits.model_validate({"window": window, "parts": []})
    return TsPulse(config, splits, mean, std, scaling, core)


class Compiled:
    """One compiled form of an entity's TSPulse: the engine and the head that a device has."""

    def __init__(self, entity: Entity, detector: TsPulse, captured: Captured, precision: Precision):
        self._context, self._detector = entity.context, detector
        self._errors: dict[tuple[int, int, int], npt.NDArray[np.float32]] = {}
        held = [(x, entity.ends(x, first)) for x, first in held_back(entity)[1]]
        calibration = [batch for x, ends in held for batch in self._batches(x, ends)][:300]
        lowered = lower(
            capture(detector), precision, Calibration(lambda: iter(calibration), len(calibration))
        )
        files = lowered.files
        self._model = openvino.Core().read_model(files["network.xml"], files["network.bin"])
        self._head = detector.fit_head(list(openvino_ir.through(self._model, calibration)), {})

    def score(self, rows: Rows, ends: list[int]) -> npt.NDArray[np.float64]:
        return error_streams(self._head.params, self._outputs(rows, ends)).scores.astype(np.float64)

    def alone(self, stream: str) -> Score:
        """The score that one stream would make."""
        return lambda rows, ends: (
            error_streams(self._head.params, self._outputs(rows, ends)).also[stream].astype(np.float64)
        )

    def _batches(self, rows: Rows, ends: list[int]) -> Iterator[npt.NDArray[np.float32]]:
        whole = standardised([rows], self._detector.mean, self._detector.std)[0].numpy()
        return (np.ascontiguousarray(whole[end - self._context : end].T)[None] for end in ends)

    def _outputs(self, rows: Rows, ends: list[int]) -> dict[str, npt.NDArray[np.float32]]:
        key = (id(rows), ends[0], len(ends))  # an entity keeps its rows
        if key not in self._errors:
            found = openvino_ir.through(self._model, self._batches(rows, ends))
            self._errors[key] = np.concatenate([o["errors"] for o in found])
        return {"errors": self._errors[key]}


def flat(rows: Rows, ends: list[int], length: int) -> Rows:
    """The newest `length` rows at each end, as vectors."""
    return np.stack([rows[end - length : end].ravel() for end in ends])


def training_vectors(entity: Entity, length: int, step: int) -> tuple[list[float], list[float], Rows]:
    """Mean, deviation, and windows of all normal rows: the baselines need no calibration split."""
    mean, std, _ = channel_statistics(entity.train)
    scaled = [x.numpy() for x in standardised(entity.train, mean, std)]
    return (
        mean,
        std,
        np.concatenate([flat(x, list(range(length, len(x) + 1, step)), length) for x in scaled]),
    )


def isolation_forest(entity: Entity, length: int = 64) -> Score:
    """scikit-learn's, 200 trees; of windows of 16 and 64 rows the latter is better on these sets."""
    mean, std, vectors = training_vectors(entity, length, HOP // 2)
    forest = IsolationForest(n_estimators=200, random_state=0).fit(vectors)

    def score(rows: Rows, ends: list[int]) -> npt.NDArray[np.float64]:
        return -forest.score_samples(flat(standardised([rows], mean, std)[0].numpy(), ends, length))

    return score


def pca_reconstruction(entity: Entity, length: int = HOP, variance: float = 0.99) -> Score:
    """Squared error left by the components that hold 99 % of the variance of a hop's rows.

    Of 16 and 64 rows, and 90 % and 99 %, the best on these sets.
    """
    mean, std, vectors = training_vectors(entity, length, HOP // 4)
    pca = PCA(n_components=variance, svd_solver="full").fit(vectors)

    def score(rows: Rows, ends: list[int]) -> npt.NDArray[np.float64]:
        x = flat(standardised([rows], mean, std)[0].numpy(), ends, length)
        return ((x - pca.inverse_transform(pca.transform(x))) ** 2).mean(1).astype(np.float64)

    return score


@dataclass
class Found:
    """Figures of one detector on one entity, each of rows."""

    vus_pr: float
    pate: float
    auroc: float


def measure(entity: Entity, score: Score) -> Found:
    """Figures over all test files of an entity together."""
    labels, scores = [], []
    for rows, marked, first in entity.test:
        ends = entity.ends(rows, first)
        scores.append(np.repeat(score(rows, ends), HOP))
        labels.append(np.concatenate([marked[end - HOP : end] for end in ends]))
    y, s = np.concatenate(labels), np.concatenate(scores)
    return Found(vus(y, s, BUFFER).pr, pate(y, s, BUFFER, BUFFER).value, float(roc_auc_score(y, s)))


def threshold_drift(entity: Entity, float_: Score, int8: Score) -> str:
    """Spread of the scores' shift, and false alarms at the float threshold, on held-back normal windows."""
    held = [(x, entity.ends(x, first)) for x, first in held_back(entity)[1]]
    before, after = (np.concatenate([score(x, ends) for x, ends in held]) for score in (float_, int8))
    if len(before) < 1 / RATE:
        return f"{len(before)} windows are too few"
    own = [calibrate_threshold(values, RATE) for values in (before, after)]
    found = drift(before, after, Thresholds(float=own[0], compiled=own[1]))
    return f"{found.spread:.2f} / {found.false_alarms_kept:.1%} / {found.false_alarms_recalibrated:.1%}"


@click.command(help=__doc__.splitlines()[0])
@click.option("--budget", default=120.0, show_default=True, help="Seconds of training for each model.")
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for fitted weights.")
@click.option("--set", "chosen", multiple=True, default=SETS, show_default=True)
def main(budget: float, work: Path, chosen: tuple[str, ...]) -> None:
    data = Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data"))
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    names = ("float", "INT8", *(f"{name} alone" for name in STREAMS), "isolation forest", "PCA", "INT8 drift")
    print("| set | series | context | rows | " + " | ".join(names) + " |\n|" + " --- |" * (4 + len(names)))
    found: dict[str, list[list[Found]]] = {}
    for entity in entities(data):
        if entity.set not in chosen:
            continue
        detector = fitted(entity, budget, work)
        captured = capture(detector)
        float_, int8 = (Compiled(entity, detector, captured, precision) for precision in PRECISIONS)
        scores = [float_.score, int8.score, *map(float_.alone, STREAMS), isolation_forest(entity),
                  pca_reconstruction(entity)]  # fmt: skip
        figures = [measure(entity, score) for score in scores]
        found.setdefault(entity.set, []).append(figures)
        cells = [f"{f.vus_pr:.3f} / {f.pate:.3f} / {f.auroc:.3f}" for f in figures]
        n = sum(len(entity.ends(x, first)) * HOP for x, _, first in entity.test)
        first_cells = f"{entity.set} | {entity.name} | {entity.context} | {n}"
        cells.append(threshold_drift(entity, float_.score, int8.score))
        print(f"| {first_cells} | {' | '.join(cells)} |", flush=True)
    means = {
        name: np.mean([[[f.vus_pr, f.pate, f.auroc] for f in row] for row in rows], axis=0)
        for name, rows in found.items()
    }
    for name, mean in {**means, "mean of sets": np.mean(list(means.values()), axis=0)}.items():
        cells = [" / ".join(f"{value:.3f}" for value in row) for row in mean]
        print(f"| {name} | mean | | | {' | '.join(cells)} | |", flush=True)
    print("\nEach cell: VUS-PR / PATE / AUROC of rows. Drift: spread of the shift in standard deviations of the float "
          f"scores / false alarms at the float threshold / at its own, wanted {RATE:.0%}.")  # fmt: skip


if __name__ == "__main__":
    main()
