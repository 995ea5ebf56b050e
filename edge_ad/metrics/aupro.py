"""AU-PRO: how well anomaly maps cover the marked defects, each defect counting alike whatever its size.

Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 129, 2021, section on the per-region overlap: for
each threshold, the share of a connected ground-truth region above it, averaged over all regions, against the
false-positive rate over all pixels that belong to no region; integrated up to a rate of 0.3, divided by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.integrate import trapezoid
from scipy.ndimage import label

from edge_ad.bundle.manifest import Rate, Spec
from edge_ad.errors import DataError, UsageError
from edge_ad.metrics.checks import BoolArray, FloatArray

MapAndMask = tuple[npt.NDArray[np.floating[Any]], npt.NDArray[Any]]

_EIGHT_CONNECTED = np.ones((3, 3), np.int8)


class AuPro(Spec):
    """Area under the per-region-overlap curve, with what it rests on."""

    value: Rate = Field(description="area under the curve up to `fpr_limit`, divided by `fpr_limit`")
    fpr_limit: Annotated[float, Field(gt=0, le=1)] = Field(
        description="false-positive rate of pixels at which the integral ends"
    )
    n_regions: Annotated[int, Field(gt=0)] = Field(description="marked defects (8-connected components)")
    n_images: Annotated[int, Field(gt=0)] = Field(description="images, normal ones included")


def au_pro(samples: Callable[[], Iterable[MapAndMask]], fpr_limit: float = 0.3) -> AuPro:
    """Exact AU-PRO of anomaly maps (H, W) against masks (H, W), non-zero where defective.

    samples: called twice, each time giving all (map, mask) pairs in the same order, e.g.
    `lambda: zip(maps, masks)`, or a generator function that up-samples one map at a time. Normal images take
    part with an empty mask. One image is held at a time, plus under 100 bytes for each *defective* pixel.

    The curve changes only where a defective pixel's score is passed, so false positives are counted between
    those scores instead of sorting every pixel. Pixels of equal score enter together (a slanted segment).

    Raises DataError for shapes that differ, scores that are not finite, no defective or no normal pixel at
    all, or samples that change between the calls; UsageError for a limit outside (0, 1].
    """
    if not 0 < fpr_limit <= 1:
        raise UsageError(f"a false-positive-rate limit of {fpr_limit} is not in (0, 1]", hint="usual is 0.3")
    levels, gains, n_regions, n_images = _overlap_steps(samples)
    tied, between = _false_positives(samples, levels, n_images)
    total = int(tied.sum() + between.sum())
    if total == 0:
        raise DataError("AU-PRO needs normal pixels, but the masks mark every pixel")
    fpr, pro = _curve(gains / n_regions, tied / total, between / total)
    return AuPro(
        value=min(1.0, _area(fpr, pro, fpr_limit) / fpr_limit),
        fpr_limit=fpr_limit,
        n_regions=n_regions,
        n_images=n_images,
    )


def _checked(samples: Callable[[], Iterable[MapAndMask]]) -> Iterator[tuple[npt.NDArray[Any], BoolArray]]:
    for index, (scores, mask) in enumerate(samples()):
        if scores.ndim != 2 or scores.shape != mask.shape:
            raise DataError(
                f"anomaly map {index} has shape {scores.shape}, its mask {mask.shape}",
                hint="up-sample the map to the mask",
            )
        if not np.isfinite(scores).all():
            raise DataError(f"anomaly map {index} holds values that are not finite")
        yield scores, mask != 0


def _overlap_steps(
    samples: Callable[[], Iterable[MapAndMask]],
) -> tuple[npt.NDArray[Any], FloatArray, int, int]:
    """Distinct scores of defective pixels, ascending; the overlap each adds, summed; regions; images."""
    scores: list[npt.NDArray[Any]] = []
    weights: list[FloatArray] = []
    n_regions = n_images = 0
    for anomaly_map, mask in _checked(samples):
        n_images += 1
        if not mask.any():
            continue
        regions, count = label(mask, _EIGHT_CONNECTED)
        inside = regions[mask]
        scores.append(anomaly_map[mask])
        weights.append(1.0 / np.bincount(inside)[inside])
        n_regions += count
    if n_regions == 0:
        raise DataError("AU-PRO needs masks, but no pixel is marked as defective")
    levels, index = np.unique(np.concatenate(scores), return_inverse=True)
    overlap: FloatArray = np.bincount(index, np.concatenate(weights)).astype(np.float64)
    return levels, overlap, n_regions, n_images


def _false_positives(
    samples: Callable[[], Iterable[MapAndMask]], levels: npt.NDArray[Any], n_images: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Normal pixels that tie with each level (m,), and that lie below, between and above them (m + 1,)."""
    counts = np.zeros(2 * levels.size + 1, np.int64)
    seen = 0
    for anomaly_map, mask in _checked(samples):
        seen += 1
        normal = np.sort(anomaly_map[~mask])  # sorted needles keep searchsorted in cache
        # left + right is even in the gap below level left, odd on a tie with it
        slot = np.searchsorted(levels, normal, "left") + np.searchsorted(levels, normal, "right")
        counts += np.bincount(slot, minlength=counts.size)
    if seen != n_images:
        raise DataError(f"the samples gave {n_images} images at first and {seen} when read again")
    return counts[1::2], counts[::2]


def _curve(gains: FloatArray, tied: FloatArray, between: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Vertices (false-positive rate, overlap), from the highest threshold to the lowest."""
    gains, tied, between = gains[::-1], tied[::-1], between[::-1]
    fpr = np.zeros(2 * gains.size + 2)
    fpr[1::2] = between
    fpr[2::2] = tied
    pro = np.zeros_like(fpr)
    pro[2::2] = gains
    return np.cumsum(fpr), np.cumsum(pro)


def _area(fpr: FloatArray, pro: FloatArray, limit: float) -> float:
    """Area under the piecewise linear curve from 0 to `limit`, the last segment cut there."""
    inside = fpr <= limit
    cut = np.interp(limit, fpr, pro)
    return float(trapezoid(np.append(pro[inside], cut), np.append(fpr[inside], limit)))
