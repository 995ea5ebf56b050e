"""Figures on labelled test inputs, by what suits the modality."""

from __future__ import annotations

from collections.abc import Iterator

from edge_ad.bundle.manifest import Thresholds
from edge_ad.compile.scores import Scores
from edge_ad.data.inputs import Labelled
from edge_ad.data.labelled import read_mask
from edge_ad.metrics.aupro import AuPro, MapAndMask, au_pro
from edge_ad.metrics.evaluation import TestFigures, evaluate_test
from edge_ad.runtime.images import read_image
from edge_ad.runtime.localise import upsample


def measure(
    labelled: Labelled, float_: Scores, compiled: Scores, thresholds: Thresholds, pad: int
) -> TestFigures:
    """All figures of one payload: per input for every modality, per pixel for images with masks, per row for series.

    pad: border cells that the head's maps lack.
    """
    return evaluate_test(
        labels=[item.anomalous for item in labelled.items],
        float_scores=float_.scores,
        compiled_scores=compiled.scores,
        thresholds=thresholds,
        kinds=[item.kind for item in labelled.items],
        aupro_float=_aupro(labelled, float_, pad),
        aupro_compiled=_aupro(labelled, compiled, pad),
    )


def _aupro(labelled: Labelled, scores: Scores, pad: int) -> AuPro | None:
    """AU-PRO over good images and those that have a mask; None where no defect has one."""
    if scores.maps is None or not any(item.mask is not None for item in labelled.items):
        return None
    maps = scores.maps

    def samples() -> Iterator[MapAndMask]:
        for item, grid in zip(labelled.items, maps, strict=True):
            if item.anomalous and item.mask is None:
                continue
            shape = read_image(item.path).shape[:2]
            mask = read_mask(item, (shape[0], shape[1]))
            assert mask is not None
            yield upsample(grid, pad, (shape[0], shape[1])), mask

    return au_pro(samples)
