"""Splits of series by time, and their windows: fit first, then calibration, the newest part for the threshold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from edge_ad.bundle.manifest import WindowSpec
from edge_ad.data.splits import CALIBRATION_SHARE, THRESHOLD_SHARE, file_sha256, train_good
from edge_ad.errors import DataError
from edge_ad.runtime.series import Chunk, SeriesFile, Windower, list_series, open_series, open_windowed
from edge_ad.runtime.series.readers import Values

Rows = tuple[int, int]  # first row, and the one after the last
_HINT = "put series of normal operation (CSV, Parquet, NPY, WAV) into train/good"


class SeriesPart(BaseModel):
    """The parts of one file: its name below train/good, the digest of its bytes, and its rows by split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str
    fit: Rows
    calibration: Rows
    threshold: Rows


class SeriesSplits(BaseModel):
    """fit: learns weights. calibration: the head's scales and INT8 ranges. threshold: nothing but the threshold.

    Within a file they follow each other in time, with a window between them that none of them takes, so that no row is
    on two sides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: WindowSpec
    parts: list[SeriesPart]


@dataclass(frozen=True)
class WindowSet:
    """Windows (length, C) float32 of some rows of some files, read anew at each iteration."""

    window: WindowSpec
    places: list[tuple[Path, Rows]]
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Values]:
        for path, rows in self.places:
            yield from (values for values, _ in cut(path, rows, self.window))


@dataclass(frozen=True)
class SeriesSets:
    """The windows of each split; `new` counts those of files that the fit never saw."""

    fit: WindowSet
    calibration: WindowSet
    threshold: WindowSet
    new: int


@dataclass(frozen=True)
class LabelledSeries:
    """A labelled file. labels: (rows,). rows: of each window, those that its score is about: its newest `hop` ones."""

    path: Path
    kind: str
    labels: npt.NDArray[np.bool_]
    rows: list[Rows]
    window: WindowSpec

    @property
    def windows(self) -> Iterator[Values]:
        """Its windows, in order."""
        return (values for values, _ in cut(self.path, (0, len(self.labels)), self.window))


@dataclass(frozen=True)
class SeriesFacts:
    """What the files of normal data agree on. rate_hz: None where they have no time. rows: of each file. peak: the
    largest of all values, without their signs. unit: the step between values, where all files state the same."""

    channels: list[str]
    rate_hz: float | None
    rows: dict[Path, int]
    mean: list[float]
    std: list[float]
    peak: float = 0.0
    unit: float | None = None


def normal_series(root: Path) -> list[Path]:
    """The series below `root`/train/good, or `root` itself where it is a file. Raises DataError when there is none."""
    if root.is_file():
        return [root]
    folder = root / "train" / "good"
    if not folder.is_dir():
        raise DataError("there is no folder train/good", where=root, hint=_HINT)
    if files := list_series(folder):
        return files
    train_good(root)  # says so when it holds images instead
    raise DataError("holds images, no series", where=folder, hint=_HINT)


def survey(root: Path, rate_hz: float | None = None, channels: list[str] | None = None) -> SeriesFacts:
    """Read all normal data once: channels, sampling rate, rows.

    rate_hz: as declared, None to take what the files state, or the median interval of their time stamps. Mean and
    standard deviation are of all finite values; of a channel that never changes the latter is 1. Raises DataError for
    files that do not agree, and where every channel is constant.
    """
    files = normal_series(root)
    rows: dict[Path, int] = {}
    intervals: list[float] = []
    units: set[float | None] = set()
    peak = 0.0
    total = sums = squares = np.zeros(0)
    for path in files:
        series = open_series(path, channels)
        channels = channels or list(series.channels)
        if list(series.channels) != channels:
            raise DataError(
                f"has channels {', '.join(series.channels)}, others have {', '.join(channels)}", where=path
            )
        rate_hz = _agreed_rate(series, rate_hz)
        units.add(series.unit)
        if not len(sums):
            total, sums, squares = (np.zeros(len(channels)) for _ in range(3))
        n = 0
        for chunk in series.chunks():
            n += len(chunk.values)
            if chunk.stamps is not None and len(chunk.stamps) > 1:
                intervals.append(float(np.median(np.diff(chunk.stamps))))
            values = chunk.values.astype(np.float64)
            total = total + np.isfinite(values).sum(0)
            sums = sums + np.nansum(values, 0)
            squares = squares + np.nansum(values * values, 0)
            peak = max(peak, float(np.abs(values[np.isfinite(values)]).max(initial=0)))
        if n == 0:
            raise DataError("holds no rows", where=path)
        if n == 1:
            raise DataError("holds a single row, no series", where=path)
        rows[path] = n
    assert channels is not None
    mean = sums / np.maximum(total, 1)
    std = np.sqrt(np.maximum(squares / np.maximum(total, 1) - mean * mean, 0))
    flat = std <= 1e-7 * np.maximum(np.abs(mean), 1e-30)
    if flat.all():
        raise DataError(
            "every channel is constant",
            where=root,
            hint="check the sensors, or that the right columns are read",
        )
    std = np.where(flat, 1.0, std)
    interval = float(np.median(intervals)) if intervals else 0.0
    # Five digits: what time stamps in floating point leave of the rate.
    measured = float(f"{1 / interval:.5g}") if interval > 0 else None
    rate = rate_hz if rate_hz is not None else measured
    unit = units.pop() if len(units) == 1 else None
    return SeriesFacts(channels, rate, rows, mean.tolist(), std.tolist(), peak, unit)


def _agreed_rate(series: SeriesFile, rate_hz: float | None) -> float | None:
    """The rate so far, or that of a file that states one. Raises DataError where these differ."""
    if series.rate_hz is None or rate_hz is None:
        return rate_hz if series.rate_hz is None else series.rate_hz
    if series.rate_hz != rate_hz:
        raise DataError(
            f"has {series.rate_hz:g} samples a second, not {rate_hz:g}", where=series.path,
            hint="record, or resample, all files at one rate, and leave --rate-hz out",
        )  # fmt: skip
    return rate_hz


def split_series(
    root: Path, facts: SeriesFacts, window: WindowSpec, holdout: float | None = None
) -> SeriesSplits:
    """Split each file of normal data by time.

    holdout: share of the rows for the threshold (THRESHOLD_SHARE unless given). Raises DataError when no file is long
    enough, saying how many rows it takes.
    """
    share = THRESHOLD_SHARE if holdout is None else holdout
    guard = window.length if window.length > 1 else 0
    parts = []
    for path, n in facts.rows.items():
        free = n - 2 * guard
        n_threshold, n_calibration = int(free * share), max(window.length, int(free * CALIBRATION_SHARE))
        n_fit = free - n_threshold - n_calibration
        if min(n_fit, n_threshold, n_calibration) < window.length:
            continue
        calibration = (n_fit + guard, n_fit + guard + n_calibration)
        parts.append(
            SeriesPart(
                name=series_name(path, root), sha256=file_sha256(path), fit=(0, n_fit), calibration=calibration,
                threshold=(calibration[1] + guard, n),
            )
        )  # fmt: skip
    if not parts:
        needed = (
            2 * guard
            + int(np.ceil(window.length / min(share, 1 - share - CALIBRATION_SHARE)))
            + window.length
        )
        longest = max(facts.rows.values())
        raise DataError(
            f"its longest series has {longest} rows, {needed} are needed for windows of {window.length} rows",
            where=root, hint="give longer series, or take a preset with a shorter window",
        )  # fmt: skip
    return SeriesSplits(window=window, parts=parts)


def find_series_splits(splits: SeriesSplits, root: Path, window: WindowSpec) -> SeriesSets:
    """The windows of each split where the files lie now, matched by content.

    All of a file that the fit did not see joins the threshold split. Raises DataError when a split has no window.
    """
    known = {part.sha256: part for part in splits.parts}
    places: dict[str, list[tuple[Path, Rows]]] = {"fit": [], "calibration": [], "threshold": []}
    new: list[tuple[Path, Rows]] = []
    for path in normal_series(root):
        part = known.get(file_sha256(path))
        if part is None:
            new.append((path, (0, _n_rows(path, window))))
            continue
        for name, held in places.items():
            held.append((path, getattr(part, name)))
    n_new = sum(_count(path, rows, window) for path, rows in new)
    places["threshold"] += new
    sets = {
        name: WindowSet(window, held, sum(_count(path, rows, window) for path, rows in held))
        for name, held in places.items()
    }
    for name in ("calibration", "threshold"):
        if not len(sets[name]):
            raise DataError(
                f"holds no window that the model set aside for {name}",
                where=root,
                hint="give --data the folder that the model was fitted on",
            )
    return SeriesSets(sets["fit"], sets["calibration"], sets["threshold"], n_new)


def labelled_windows(root: Path, window: WindowSpec) -> list[LabelledSeries]:
    """The series below `root`/test/<kind> with their labels; none without that folder.

    Files below test/good are all normal; below another folder those of formats that hold no labels (WAV, NPY) are
    anomalous from end to end. Raises DataError for another one without a label column.
    """
    found = []
    for folder in sorted(p for p in (root / "test").glob("*") if p.is_dir()):
        for path in list_series(folder):
            series = open_windowed(path, window)
            anomalous = series.labelled_by_folder and folder.name != "good"
            if not (series.has_labels or anomalous or folder.name == "good"):
                raise DataError(
                    "has no column 'label'", where=path, hint="mark anomalous rows with 1, others with 0"
                )
            labels = np.concatenate(
                [
                    np.full(len(chunk.values), anomalous) if chunk.labels is None else chunk.labels
                    for chunk in series.chunks()
                ]
            )
            rows = [rows for _, rows in cut(path, (0, len(labels)), window)]
            found.append(LabelledSeries(path, folder.name, labels, rows, window))
    return found


def cut(path: Path, rows: Rows, window: WindowSpec) -> Iterator[tuple[Values, Rows]]:
    """Windows of some rows of a file, each with the rows of the file that its score is about."""
    series = open_windowed(path, window)
    windower = Windower(window, where=str(path))
    first = 0
    for chunk in series.chunks():
        n = len(chunk.values)
        begin, end = max(rows[0] - first, 0), min(rows[1] - first, n)
        if begin < end:
            stamps = None if chunk.stamps is None else chunk.stamps[begin:end]
            part = Chunk(stamps, chunk.values[begin:end], None, chunk.line + begin)
            for made in windower.push(part):
                newest = max(rows[0], 0) + made.row + 1
                yield made.values, (newest - window.hop, newest)
        first += n
        if first >= rows[1]:
            return


def _count(path: Path, rows: Rows, window: WindowSpec) -> int:
    return sum(1 for _ in cut(path, rows, window))


def _n_rows(path: Path, window: WindowSpec) -> int:
    return sum(len(chunk.values) for chunk in open_windowed(path, window).chunks())


def series_name(path: Path, root: Path) -> str:
    """Its name below train/good."""
    return path.name if root.is_file() else path.relative_to(root / "train" / "good").as_posix()
