"""What STARNet is fitted on: feature images of scans, or vectors, and the preprocessing that makes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edge_ad.bundle.manifest import InputSpec, PreprocessSpec
from edge_ad.data.inputs import Acquired, find_normals
from edge_ad.data.series_splits import SeriesSplits
from edge_ad.data.splits import SCANS, Splits, find_splits, split_normals, train_good
from edge_ad.detectors.starnet.config import StarNetConfig
from edge_ad.detectors.vectors import prepare_vectors
from edge_ad.errors import DataError
from edge_ad.runtime.preprocess import preprocess
from edge_ad.runtime.scan_images import bev_histogram_spec, range_image_spec
from edge_ad.runtime.scan_rings import count_rings
from edge_ad.runtime.scans import Points, list_scans, read_scan

BEV_HEIGHT_M = (-3.0, 5.0)
_SURVEYED = 8  # scans that sensor and scene are taken from
_ELEVATION_SHARE = 0.5  # percent of the points that may lie outside the rows


@dataclass(frozen=True)
class Prepared:
    """input: what the network takes. splits: what was set aside. fit, calibration: preprocessed, batch first."""

    input: InputSpec
    splits: Splits | SeriesSplits
    fit: Tensor
    calibration: Tensor


def prepare(config: StarNetConfig, root: Path) -> Prepared:
    """Split the normal data of `root`, find the preprocessing that suits it, and apply it. Raises DataError."""
    if config.features == "vector":
        return _vectors(config, root)
    splits = split_normals(root, config.seed, config.holdout, SCANS)
    _check_sensor(train_good(root, SCANS))
    paths = find_splits(splits, root, SCANS).fit
    spec = _scan_spec(config, [read_scan(path) for path in paths[:: max(1, len(paths) // _SURVEYED)]])
    fit = torch.from_numpy(np.concatenate([preprocess(spec, read_scan(path)) for path in paths]))
    input_ = InputSpec(modality="scan", shape=(1, *fit.shape[1:]), dtype="float32", preprocess=spec)
    normals = find_normals(splits, root, input_)
    return Prepared(input_, splits, fit, _stack(spec, list(normals.calibration)))


def _vectors(config: StarNetConfig, root: Path) -> Prepared:
    found = prepare_vectors(root, 1, config.holdout)
    return Prepared(found.input, found.splits, found.fit, found.calibration)


def _stack(spec: PreprocessSpec, inputs: list[Acquired]) -> Tensor:
    return torch.from_numpy(np.concatenate([preprocess(spec, data) for data in inputs]))


def _scan_spec(config: StarNetConfig, scans: list[Points]) -> PreprocessSpec:
    """The front end for the sensor and the place that these scans show."""
    rings = int(np.median([count_rings(scan) for scan in scans]))
    if config.features == "bev":
        extent = float(np.ceil(np.percentile(np.concatenate([np.abs(s[:, :2]).max(1) for s in scans]), 95)))
        make: Callable[[float], PreprocessSpec] = lambda n: bev_histogram_spec(  # noqa: E731
            cells=config.rows, extent_m=extent, height_m=BEV_HEIGHT_M, points_per_cell=n, rings=rings
        )
        return make(_mean_points(scans, config.rows * config.rows))
    low, high = _elevations(scans)
    return range_image_spec(
        rows=config.rows,
        columns=config.columns,
        elevation_deg=(low, high),
        max_range_m=config.max_range_m,
        points_per_cell=_mean_points(scans, config.rows * config.columns),
        rings=rings,
    )


def _mean_points(scans: list[Points], cells: int) -> float:
    return round(float(np.mean([len(scan) for scan in scans])) / cells, 3)


def _elevations(scans: list[Points]) -> tuple[float, float]:
    """Whole degrees between which nearly all points lie."""
    angles = np.concatenate([_elevation_deg(scan) for scan in scans])
    low, high = np.percentile(angles, [_ELEVATION_SHARE, 100 - _ELEVATION_SHARE])
    return float(np.floor(low)), float(np.ceil(high))


def _elevation_deg(scan: Points) -> npt.NDArray[np.float64]:
    return np.degrees(np.arctan2(scan[:, 2], np.hypot(scan[:, 0], scan[:, 1])).astype(np.float64))


def _check_sensor(folder: Path) -> None:
    """Raises DataError where normal scans are of several sensors."""
    paths = list_scans(folder)
    counts = {path: count_rings(read_scan(path)) for path in paths}
    usual = int(np.median(list(counts.values())))
    for path, count in counts.items():
        if not usual / 1.25 <= count <= usual * 1.25:
            raise DataError(
                f"has {count} rings, the other scans have {usual}",
                where=path,
                hint="keep the scans of one sensor in train/good",
            )


def is_vector(shape: tuple[int, ...]) -> bool:
    """Whether a network's input (1, …) is a vector's."""
    return len(shape) == 3
