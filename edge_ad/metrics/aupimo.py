"""AUPIMO: per image, how much of the defect is found at false-positive rates so low that no good image shows any.

Bertoldo, Ameln, Vaidya and Akcay, AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High Speed and Low
Tolerance, arXiv 2401.01984, 2024.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.integrate import trapezoid
from scipy.stats import wilcoxon

from edge_ad.bundle.manifest import Finite, Rate, Spec
from edge_ad.errors import DataError, QualityError, UsageError
from edge_ad.metrics.aupro import MapAndMask
from edge_ad.metrics.checks import FloatArray

LOWER, UPPER = 1e-5, 1e-4
_POINTS = 300


class Aupimo(Spec):
    """Area under the per-image overlap curve, and how it is spread over the defective images."""

    mean: Rate = Field(description="mean over defective images that have a mask; 1 is perfect")
    quartiles: tuple[Rate, Rate, Rate] = Field(description="quartiles over these images")
    n_images: Annotated[int, Field(gt=0)] = Field(description="defective images that have a mask")
    fpr_bounds: tuple[Rate, Rate] = Field(
        description="rates of false positive pixels on good images, integrated over"
    )


class AupimoChange(Spec):
    """Compiled less float, image by image."""

    mean: Finite = Field(description="mean of the differences")
    p_value: Rate | None = Field(
        description="of Wilcoxon's signed-rank test that there is no difference; null where all are equal"
    )


def aupimo(
    samples: Callable[[], Iterable[MapAndMask]], bounds: tuple[float, float] = (LOWER, UPPER)
) -> FloatArray:
    """AUPIMO of each image that has a mask, (n,), in order; maps (H, W) and masks (H, W) as for `au_pro`.

    samples: called three times, each time giving all (map, mask) pairs in the same order; images with an empty mask are
    the good ones. For each threshold the false-positive rate is the mean over good images of each one's share of pixels
    above it; the share of an image's mask above the threshold is integrated over the logarithm of that rate. Equal
    values pass a threshold together. Memory: one image, and the highest values of each good one.

    Raises DataError for shapes that differ or values that are not finite, and where good or defective images are
    missing; QualityError where the good images have too few pixels for the lower bound; UsageError for bounds that do
    not rise within (0, 1).
    """
    low, high = bounds
    if not 0 < low < high < 1:
        raise UsageError(f"bounds {low} to {high} do not rise within 0 and 1")
    thresholds = _thresholds(samples, low, high)
    rates = np.geomspace(low, high, _POINTS)
    values = []
    for map_, mask in samples():
        marked = mask.astype(bool)
        if marked.any():
            inside = np.sort(_finite(map_)[marked])
            found = 1 - np.searchsorted(inside, thresholds, side="right") / inside.size
            values.append(trapezoid(found, np.log(rates)) / math.log(high / low))
    if not values:
        raise DataError("AUPIMO needs an image with a marked defect")
    return np.clip(np.array(values), 0, 1)


def summary(values: FloatArray, bounds: tuple[float, float] = (LOWER, UPPER)) -> Aupimo:
    """What a report says of the values of all images (n,)."""
    a, b, c = (float(q) for q in np.percentile(values, [25, 50, 75]))
    return Aupimo(mean=float(values.mean()), quartiles=(a, b, c), n_images=values.size, fpr_bounds=bounds)


def aupimo_change(float_values: FloatArray, compiled_values: FloatArray) -> AupimoChange:
    """The change from float to compiled on the same images (n,), with a paired test."""
    if float_values.shape != compiled_values.shape:
        raise DataError(f"{float_values.size} float but {compiled_values.size} compiled values")
    change = compiled_values - float_values
    p = None if not change.any() else float(wilcoxon(compiled_values, float_values).pvalue)
    return AupimoChange(mean=float(change.mean()), p_value=p)


def _thresholds(samples: Callable[[], Iterable[MapAndMask]], low: float, high: float) -> FloatArray:
    """The lowest thresholds (strictly above which a pixel counts) whose rate stays within each of `_POINTS` rates."""
    n_good = sum(not mask.any() for _, mask in samples())
    if n_good == 0:
        raise DataError("AUPIMO needs good images")
    tops, weights = [], []
    total = 0
    for map_, mask in samples():
        if map_.shape != mask.shape or map_.ndim != 2:
            raise DataError(f"a map is {map_.shape}, its mask {mask.shape}")
        if mask.any():
            continue
        pixels = _finite(map_).ravel()
        total += pixels.size
        kept = min(pixels.size, math.ceil(high * n_good * pixels.size) + 1)
        top = np.partition(pixels, pixels.size - kept)[-kept:]
        tops.append(top)
        weights.append(np.full(kept, 1 / (n_good * pixels.size)))
    if low * total < 1:
        raise QualityError(
            f"{total} pixels of good images cannot support a rate of {low:g}; the smallest they can is {1 / total:.2g}",
            hint="give more good test images",
        )
    return _lowest_within(np.concatenate(tops), np.concatenate(weights), np.geomspace(low, high, _POINTS))


def _lowest_within(values: FloatArray, weights: FloatArray, rates: FloatArray) -> FloatArray:
    order = np.argsort(-values, kind="stable")
    values, above = values[order], np.cumsum(weights[order])
    # At a threshold equal to values[i] the rate is the weight of all that are strictly larger.
    levels, first = np.unique(-values, return_index=True)
    strictly = np.concatenate([[0.0], above])[first]
    place = np.searchsorted(strictly, rates * (1 + 1e-12), side="right") - 1
    return -levels[place]


def _finite(map_: npt.NDArray[np.floating[Any]]) -> FloatArray:
    values = np.asarray(map_, np.float64)
    if not np.isfinite(values).all():
        raise DataError("a map holds values that are not finite", hint="check the network's outputs")
    return values
