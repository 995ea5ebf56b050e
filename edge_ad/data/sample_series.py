"""Generated sample series: sensors of a pump under changing load, with anomalies whose rows are known.

For demonstrations and tests that need a whole data set without a download. The anomalies are plausible, not real:
accuracy on them says nothing about accuracy on a real pump.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.data.samples import whole_or_nothing
from edge_ad.errors import DataError, UsageError

CHANNELS = ("vibration", "current", "pressure", "temperature", "flow")
RATE_HZ = 10.0
_STEPS = (0.001, 0.01, 0.005, 0.05, 0.02)  # of the sensors' converters
_BEGINS_S = 1_760_000_000.0
_ANOMALY_ROWS = (60, 200)

Float64 = npt.NDArray[np.float64]


def pump(rng: np.random.Generator, n_rows: int) -> Float64:
    """Normal operation, (n_rows, 5): a load cycle of about half a minute that all sensors follow, each in its way."""
    t = np.arange(n_rows) / RATE_HZ
    phase = (
        2
        * np.pi
        * np.cumsum(1 + 0.05 * rng.standard_normal(n_rows).cumsum() / np.sqrt(n_rows))
        / (30 * RATE_HZ)
    )
    load = 0.5 + 0.3 * np.sin(phase) + 0.1 * np.sin(3 * phase + 1.0)
    turning = np.sin(2 * np.pi * 1.7 * t + 2 * np.sin(phase))
    noise = rng.standard_normal((n_rows, len(CHANNELS)))
    warm = np.convolve(load, np.exp(-np.arange(300) / 100) / 100)[:n_rows]
    return np.stack(
        [
            0.2 + 0.3 * load * turning + 0.03 * noise[:, 0],
            4 + 3 * load + 0.05 * noise[:, 1],
            2 + 1.2 * load - 0.2 * load**2 + 0.02 * noise[:, 2],
            40 + 8 * warm + 0.05 * noise[:, 3],
            10 + 6 * load + 0.1 * noise[:, 4],
        ],
        axis=1,
    )


def _spike(x: Float64, c: int, rng: np.random.Generator) -> None:
    rows = rng.integers(0, len(x), max(1, len(x) // 20))
    x[rows, c] += rng.choice([-1, 1], len(rows)) * 8 * x[:, c].std()


def _shift(x: Float64, c: int, rng: np.random.Generator) -> None:
    x[:, c] += float(rng.choice([-1, 1])) * 2.5 * x[:, c].std()


def _stuck(x: Float64, c: int, rng: np.random.Generator) -> None:
    x[:, c] = x[0, c]


def _frequency(x: Float64, c: int, rng: np.random.Generator) -> None:
    x[:, c] += 1.5 * x[:, c].std() * np.sin(2 * np.pi * np.arange(len(x)) / rng.uniform(4, 9))


def _unrelated(x: Float64, c: int, rng: np.random.Generator) -> None:
    x[:, c] = np.roll(x[:, c], len(x) // 2)[::-1]


def _drift(x: Float64, c: int, rng: np.random.Generator) -> None:
    x[:, c] += float(rng.choice([-1, 1])) * np.linspace(0, 4, len(x)) * x[:, c].std()


ANOMALIES: dict[str, Callable[[Float64, int, np.random.Generator], None]] = {
    "spike": _spike,
    "shift": _shift,
    "stuck": _stuck,
    "frequency": _frequency,
    "unrelated": _unrelated,
    "drift": _drift,
}


def make_series(root: str | Path, seed: int, *, n_train: int = 6000, n_test: int = 3000) -> Path:
    """Write a sample set below `root` and return it: the same bytes for the same arguments, whole or not at all.

    train/good/pump.csv with n_train rows of normal operation, test/good/pump.csv, and test/<anomaly>/pump.csv for each
    of `ANOMALIES` with two anomalies and their rows in the column `label`; time stamps at `RATE_HZ`, values in the
    steps of the sensors' converters. Raises DataError when `root` exists and is not an empty folder, or cannot be
    written; UsageError for series too short to hold the anomalies.
    """
    if n_train < 100 or n_test < 6 * _ANOMALY_ROWS[1]:
        raise UsageError(
            f"series of {n_train} and {n_test} rows are too short",
            hint=f"test at least {6 * _ANOMALY_ROWS[1]}",
        )
    folder = Path(root)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(
            "the folder for the sample set exists and is not empty", where=folder, hint="name another"
        )
    kinds: list[str | None] = [None, None, *ANOMALIES]
    try:
        with whole_or_nothing(folder) as partial:
            for i, kind in enumerate(kinds):
                rng = np.random.default_rng((seed, i))
                values = pump(rng, n_train if i == 0 else n_test)
                labels = np.zeros(len(values), np.bool_) if kind is None else _disturb(values, kind, rng)
                path = partial / ("train" if i == 0 else "test") / (kind or "good") / "pump.csv"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_csv(values, labels if i else None))
    except OSError as error:
        raise DataError(f"cannot write the sample set ({error.strerror})", where=folder) from error
    return folder


def _disturb(values: Float64, kind: str, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Two anomalies of one kind in the second half of `values`, each on one channel; returns their rows."""
    labels = np.zeros(len(values), np.bool_)
    half = len(values) // 2
    for part in range(2):
        length = int(rng.integers(*_ANOMALY_ROWS))
        space = (len(values) - half) // 2
        begin = half + part * space + int(rng.integers(0, space - length))
        rows = slice(begin, begin + length)
        ANOMALIES[kind](values[rows], int(rng.integers(values.shape[1])), rng)
        labels[rows] = True
    return labels


def _csv(values: Float64, labels: npt.NDArray[np.bool_] | None) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["timestamp", *CHANNELS, *([] if labels is None else ["label"])])
    rounded = np.rint(values / _STEPS) * _STEPS
    for i, row in enumerate(rounded):
        stamp = f"{_BEGINS_S + i / RATE_HZ:.1f}"
        writer.writerow([stamp, *(f"{v:.3f}" for v in row), *([] if labels is None else [int(labels[i])])])
    return text.getvalue().encode()
