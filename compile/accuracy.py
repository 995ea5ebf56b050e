"""Figures on labelled test inputs, by what suits the modality."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import Spec, Thresholds
from edge_ad.compile.scores import Scores
from edge_ad.data.inputs import Labelled
from edge_ad.data.labelled import read_mask
from edge_ad.errors import QualityError
from edge_ad.metrics.aupimo import aupimo, aupimo_change, summary
from edge_ad.metrics.aupro import MapAndMask, au_pro
from edge_ad.metrics.evaluation import SeriesFigures, TestFigures, evaluate_test
from edge_ad.metrics.pate import pate
from edge_ad.metrics.vus import vus
from edge_ad.runtime.images import read_image
from edge_ad.runtime.localise import upsample

MAX_BUFFER = 100  # rows; two windows' hops where that is less


def measure(
    labelled: Labelled, float_: Scores, compiled: Scores, thresholds: Thresholds, pad: int
) -> TestFigures:
    """All figures of one payload: per input for every modality, per pixel for images with masks, per row for series.

    pad: border cells that the head's maps lack.
    """
    both = {"float": float_, "compiled": compiled}
    more: dict[str, Spec | None] = {}
    if labelled.points:
        more = {f"series_{name}": series_figures(labelled, scores.scores) for name, scores in both.items()}
    elif (
        float_.maps is not None
        and compiled.maps is not None
        and any(item.mask is not None for item in labelled.items)
    ):
        more = _pixel_figures(labelled, both, pad)
    return evaluate_test(
        labels=[item.anomalous for item in labelled.items],
        float_scores=float_.scores,
        compiled_scores=compiled.scores,
        thresholds=thresholds,
        kinds=[item.kind for item in labelled.items],
        more=more,
    )


def _pixel_figures(labelled: Labelled, forms: dict[str, Scores], pad: int) -> dict[str, Spec | None]:
    """AU-PRO and AUPIMO over good images and those that have a mask."""
    found: dict[str, Spec | None] = {}
    per_image = []
    for name, scores in forms.items():
        samples = _samples(labelled, scores, pad)
        found[f"aupro_{name}"] = au_pro(samples)
        try:
            per_image.append(aupimo(samples))
            found[f"aupimo_{name}"] = summary(per_image[-1])
        except QualityError:  # too few good pixels for so low a rate: no figure rather than a wrong one
            found[f"aupimo_{name}"] = None
    if len(per_image) == len(forms):
        found["aupimo_change"] = aupimo_change(*per_image)
    return found


def _samples(labelled: Labelled, scores: Scores, pad: int) -> Callable[[], Iterator[MapAndMask]]:
    maps = scores.maps
    assert maps is not None

    def samples() -> Iterator[MapAndMask]:
        for item, grid in zip(labelled.items, maps, strict=True):
            if item.anomalous and item.mask is None:
                continue
            shape = read_image(item.path).shape[:2]
            mask = read_mask(item, (shape[0], shape[1]))
            assert mask is not None
            yield upsample(grid, pad, (shape[0], shape[1])), mask

    return samples


def series_figures(labelled: Labelled, scores: npt.NDArray[np.float32]) -> SeriesFigures | None:
    """VUS-PR, VUS-ROC and PATE of the scores (n,) of all windows; None where no series has rows of both kinds."""
    by_file: dict[Path, list[int]] = {}
    for index, item in enumerate(labelled.items):
        by_file.setdefault(item.path, []).append(index)
    volumes, pates = [], []
    for path, indices in by_file.items():
        points = labelled.points[path]
        values = np.full(len(points), np.nan)
        hop = 1
        for index in indices:
            rows = labelled.items[index].rows
            assert rows is not None
            values[rows[0] : rows[1]] = scores[index]
            hop = rows[1] - rows[0]
        scored = np.isfinite(values)
        if points[scored].any() and not points[scored].all():
            buffer = min(MAX_BUFFER, 2 * hop)
            volumes.append(vus(points[scored], values[scored], buffer))
            pates.append(pate(points[scored], values[scored], buffer, buffer).value)
    if not volumes:
        return None
    return SeriesFigures(
        vus_pr=float(np.mean([v.pr for v in volumes])),
        vus_roc=float(np.mean([v.roc for v in volumes])),
        pate=float(np.mean(pates)),
        buffer=max(v.buffer for v in volumes),
        n_series=len(volumes),
        n_anomalies=sum(v.n_anomalies for v in volumes),
    )
