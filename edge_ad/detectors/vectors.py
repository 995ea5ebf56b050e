"""Vectors to fit on: windows of few rows of series, cut, split and standardised."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge_ad.bundle.manifest import InputSpec, PreprocessSpec, WindowSpec
from edge_ad.data.series_splits import SeriesSplits, WindowSet, find_series_splits, split_series, survey
from edge_ad.runtime.preprocess import preprocess
from edge_ad.runtime.series.standardise import standardise_spec

MOST_FITTED = 100_000  # windows; of more, evenly spaced ones


@dataclass(frozen=True)
class Vectors:
    """input: what the network takes, (1, C, length) float32. splits: what was set aside. fit, calibration:
    standardised windows (n, C, length)."""

    input: InputSpec
    splits: SeriesSplits
    fit: Tensor
    calibration: Tensor


def prepare_vectors(root: Path, length: int, holdout: float | None) -> Vectors:
    """Windows of `length` rows, one a row, of the normal series of `root`, each channel standardised by what it is in
    the rows to fit on. Raises DataError."""
    facts = survey(root)
    rate = facts.rate_hz if length > 1 else None  # vectors of one row have no time
    window = WindowSpec(length=length, hop=1, rate_hz=rate, channels=facts.channels)
    splits = split_series(root, facts, window, holdout)
    sets = find_series_splits(splits, root, window)
    windows = np.stack(list(islice(sets.fit, 0, None, max(1, -(-len(sets.fit) // MOST_FITTED)))))
    rows = windows.reshape(-1, len(facts.channels)).astype(np.float64)
    spread = rows.std(axis=0)
    spec = standardise_spec(rows.mean(axis=0).tolist(), np.where(spread > 0, spread, 1.0).tolist())
    input_ = InputSpec(
        modality="series",
        shape=(1, len(facts.channels), length),
        dtype="float32",
        preprocess=spec,
        window=window,
    )
    fit = torch.from_numpy(np.concatenate([preprocess(spec, one) for one in windows]))
    return Vectors(input_, splits, fit, _standardised(spec, sets.calibration))


def _standardised(spec: PreprocessSpec, windows: WindowSet) -> Tensor:
    return torch.from_numpy(np.concatenate([preprocess(spec, one) for one in windows]))
