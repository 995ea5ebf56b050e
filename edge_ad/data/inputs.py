"""One way to the data of every modality: normal inputs by split, and labelled ones, read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from edge_ad.bundle.manifest import InputSpec, WindowSpec
from edge_ad.data.labelled import list_labelled
from edge_ad.data.series_splits import SeriesSplits, WindowSet, find_series_splits, labelled_windows
from edge_ad.data.splits import IMAGES, SCANS, FileKind, Splits, find_splits
from edge_ad.errors import ModelError

Acquired = npt.NDArray[Any]
FILE_KINDS = {"image": IMAGES, "scan": SCANS}


@dataclass(frozen=True)
class Inputs:
    """Inputs as acquired, read one at a time, as often as asked: images (H, W, 3) uint8, scans (N, 4) float32,
    windows (length, channels) float32. files: of each, where it has one of its own."""

    count: int
    read: Callable[[], Iterator[Acquired]]
    files: list[Path] | None = None

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Acquired]:
        return self.read()


@dataclass(frozen=True)
class Normals:
    """Normal inputs by split. fit: how many the fit saw; new: of `threshold`, how many came after the fit."""

    fit: int
    calibration: Inputs
    threshold: Inputs
    new: int


@dataclass(frozen=True)
class LabelledInput:
    """One labelled input. kind: the folder below test/. mask: file of an image's ground truth, or None. rows: first
    row, and the one after the last, of what a window's score is about (its newest `hop` rows)."""

    path: Path
    kind: str
    anomalous: bool
    mask: Path | None = None
    rows: tuple[int, int] | None = None


@dataclass(frozen=True)
class Labelled:
    """The labelled inputs of a data folder. points: for series, whether each row of a file is anomalous."""

    items: list[LabelledInput]
    inputs: Inputs
    points: dict[Path, npt.NDArray[np.bool_]] = field(default_factory=dict)


def find_normals(splits: BaseModel, root: Path, spec: InputSpec) -> Normals:
    """The inputs that a model set aside, where they lie in `root` now. Raises DataError when they are not there."""
    if isinstance(splits, SeriesSplits) and spec.window is not None:
        found = find_series_splits(splits, root, spec.window)
        return Normals(len(found.fit), _windows(found.calibration), _windows(found.threshold), found.new)
    if isinstance(splits, Splits) and spec.modality in FILE_KINDS:
        kind = FILE_KINDS[spec.modality]
        paths = find_splits(splits, root, kind)
        return Normals(
            len(paths.fit), _files(paths.calibration, kind), _files(paths.threshold, kind), paths.new
        )
    raise ModelError(f"has no splits that fit its inputs ({spec.modality})", hint="fit it again")


def fit_inputs(splits: BaseModel, root: Path, spec: InputSpec) -> Inputs:
    """The inputs that a model was fitted on, where they lie in `root` now. Raises as `find_normals` does."""
    if isinstance(splits, SeriesSplits) and spec.window is not None:
        return _windows(find_series_splits(splits, root, spec.window).fit)
    if isinstance(splits, Splits) and spec.modality in FILE_KINDS:
        kind = FILE_KINDS[spec.modality]
        return _files(find_splits(splits, root, kind).fit, kind)
    raise ModelError(f"has no splits that fit its inputs ({spec.modality})", hint="fit it again")


def find_labelled(root: Path, spec: InputSpec) -> Labelled:
    """The labelled inputs below `root`/test, for reports and nothing else; none without that folder."""
    if spec.window is not None:
        return _labelled_windows(root, spec.window)
    kind = FILE_KINDS[spec.modality]
    items = [
        LabelledInput(found.path, found.kind, found.anomalous, found.mask)
        for found in list_labelled(root, kind.list_files)
    ]
    return Labelled(items, _files([item.path for item in items], kind))


def _files(paths: list[Path], kind: FileKind) -> Inputs:
    return Inputs(len(paths), lambda: map(kind.read, paths), paths)


def _windows(found: WindowSet) -> Inputs:
    return Inputs(len(found), lambda: iter(found))


def _labelled_windows(root: Path, window: WindowSpec) -> Labelled:
    files = labelled_windows(root, window)
    items = [
        LabelledInput(file.path, file.kind, bool(file.labels[first:last].any()), rows=(first, last))
        for file in files
        for first, last in file.rows
    ]
    return Labelled(
        items,
        Inputs(len(items), lambda: (values for file in files for values in file.windows)),
        {file.path: file.labels for file in files},
    )
