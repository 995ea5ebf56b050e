import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from edge_ad.errors import DataError, UsageError
from edge_ad.metrics.aupro import au_pro


def slow_au_pro(maps, masks, limit):
    """The definition, threshold by threshold over all distinct scores."""
    normal = np.concatenate([a[m == 0] for a, m in zip(maps, masks, strict=True)])
    regions = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        components, count = label(mask, np.ones((3, 3)))
        regions += [anomaly_map[components == k] for k in range(1, count + 1)]
    points = [(0.0, 0.0)]
    for threshold in np.unique(np.concatenate([a.ravel() for a in maps]))[::-1]:
        points.append((np.mean(normal >= threshold), np.mean([np.mean(r >= threshold) for r in regions])))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= limit:
            break
        if x1 > limit:
            x1, y1 = limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit, len(regions)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    levels=st.sampled_from([2, 5, 50, 10**6]),  # few levels: many ties between normal and defective pixels
    density=st.sampled_from([0.01, 0.1, 0.5, 0.9]),
    limit=st.sampled_from([0.05, 0.3, 1.0]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_equal_to_the_slow_definition(seed, levels, density, limit, dtype):
    rng = np.random.default_rng(seed)
    maps = [rng.integers(0, levels, (9, 13)).astype(dtype) / levels for _ in range(4)]
    masks = [rng.random((9, 13)) < density for _ in range(3)] + [np.zeros((9, 13), bool)]
    if not any(m.any() for m in masks):
        masks[0][4, 4] = True
    for anomaly_map, mask in zip(maps, masks, strict=True):
        anomaly_map[mask] += dtype(rng.choice([0, 0.3]))
    expected, n_regions = slow_au_pro(maps, masks, limit)
    result = au_pro(lambda: zip(maps, masks, strict=True), limit)
    assert result.value == pytest.approx(expected, abs=1e-12)
    assert (result.n_regions, result.n_images) == (n_regions, 4)


def test_each_region_counts_alike_whatever_its_size():
    mask = np.zeros((20, 20), np.uint8)
    mask[0:10, 0:10] = 255  # large and missed
    mask[19, 19] = 255  # one pixel and found
    anomaly_map = np.zeros((20, 20), np.float32)
    anomaly_map[mask == 0] = 0.5
    anomaly_map[19, 19] = 1.0
    assert au_pro(lambda: [(anomaly_map, mask)]).value == pytest.approx(0.5)


def test_pixels_that_touch_at_a_corner_are_one_region():
    mask = np.eye(6, dtype=bool)
    assert au_pro(lambda: [(mask.astype(float), mask)]).n_regions == 1


def test_perfect_and_useless_maps():
    rng = np.random.default_rng(0)
    mask = np.zeros((64, 64), bool)
    mask[10:20, 30:50] = True
    assert au_pro(lambda: [(mask + rng.random((64, 64)) * 0.5, mask)]).value == 1.0
    assert au_pro(lambda: [(-mask.astype(float), mask)]).value == 0.0
    constant = au_pro(lambda: [(np.zeros((64, 64)), mask)])  # the diagonal: half of 0.3
    assert constant.value == pytest.approx(0.15)


def test_memory_does_not_grow_with_the_number_of_images():
    def samples(count):
        rng = np.random.default_rng(0)
        for _ in range(count):
            mask = np.zeros((256, 256), bool)
            mask[3:5, 3:9] = True
            yield rng.random((256, 256), np.float32), mask

    def peak(count):
        tracemalloc.start()
        au_pro(lambda: samples(count))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(40) < 1.3 * peak(4)


def test_what_has_no_figure_is_refused():
    blank = np.zeros((4, 4))
    one = np.eye(4)
    with pytest.raises(DataError, match="no pixel is marked"):
        au_pro(lambda: [(blank, blank)])
    with pytest.raises(DataError, match="mark every pixel"):
        au_pro(lambda: [(blank, blank + 1)])
    with pytest.raises(DataError, match=r"map 1 has shape \(4, 4\), its mask \(5, 4\)"):
        au_pro(lambda: [(blank, one), (blank, np.zeros((5, 4)))])
    with pytest.raises(DataError, match="map 0 holds values that are not finite"):
        au_pro(lambda: [(blank * np.nan, one)])
    with pytest.raises(UsageError, match=r"\(0, 1\]"):
        au_pro(lambda: [(blank, one)], fpr_limit=0.0)
    once = iter([(blank, one)])
    with pytest.raises(DataError, match="1 images at first and 0"):
        au_pro(lambda: once)
