"""Where an anomaly lies, in pixels of the source image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_ad.runtime.images import import_cv2
from edge_ad.runtime.localise import region, upsample


def _map(cells: list[tuple[int, int]], shape: tuple[int, int] = (8, 8)) -> np.ndarray:
    map_ = np.zeros(shape, np.float32)
    for n, (row, column) in enumerate(cells):
        map_[row, column] = 2 + n  # the last one is the maximum
    return map_


def test_a_cell_becomes_the_pixels_that_it_covers() -> None:
    where = region(_map([(3, 5)]), 1.0, 0, (80, 160, 3))
    assert where is not None and where.box == (100, 30, 20, 10) and where.peak == (110, 35)


def test_the_cells_that_the_map_lacks_at_its_border_are_counted_in() -> None:
    where = region(_map([(0, 0)]), 1.0, 4, (160, 160))
    assert where is not None and where.box == (40, 40, 10, 10) and where.peak == (45, 45)


def test_only_the_region_of_the_maximum_is_boxed_and_corners_connect() -> None:
    where = region(_map([(7, 7), (0, 2), (1, 1), (2, 2)]), 1.0, 0, (8, 8))
    assert where is not None and where.box == (1, 0, 2, 3) and where.peak == (2, 2)


def test_a_box_holds_the_whole_cell_where_pixels_do_not_divide_evenly() -> None:
    where = region(_map([(1, 1)], (3, 3)), 1.0, 0, (10, 11))
    assert where is not None and where.box == (3, 3, 5, 4)


def test_a_map_at_the_threshold_has_no_region() -> None:
    assert region(np.full((4, 4), 1.0, np.float32), 1.0, 0, (40, 40)) is None


def test_a_winding_region_is_followed_to_its_end() -> None:
    snake = np.zeros((15, 15), np.float32)
    snake[::2] = 2
    snake[1::4, -1] = 2
    snake[3::4, 0] = 2
    snake[0, 0] = 3
    where = region(snake, 1.0, 0, (15, 15))
    assert where is not None and where.box == (0, 0, 15, 15)


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(0, 4, width=32)
    ),
    st.integers(0, 4),
    st.integers(8, 70),
    st.integers(8, 70),
)
def test_the_box_lies_in_the_image_and_holds_the_peak(
    map_: np.ndarray, pad: int, height: int, width: int
) -> None:
    where = region(map_, 2.0, pad, (height, width, 3))
    assert (where is None) == (map_.max() <= 2.0)
    if where is not None:
        (x, y, w, h), (px, py) = where.box, where.peak
        assert x <= px < x + w <= width and y <= py < y + h <= height


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12)),
    st.integers(0, 99),
)
def test_the_region_is_the_connected_component_that_opencv_finds(mask: np.ndarray, seed: int) -> None:
    cv2 = import_cv2()
    scores = np.where(mask, 2 + np.random.default_rng(seed).random(mask.shape), 0).astype(np.float32)
    where = region(scores, 1.0, 0, mask.shape)
    if not mask.any():
        assert where is None
        return
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    label = labels[np.unravel_index(scores.argmax(), scores.shape)]
    assert where is not None and where.box == tuple(stats[label][:4])


@pytest.mark.parametrize(
    ("shape", "pad", "size"), [((56, 56), 4, (300, 411)), ((8, 12), 0, (64, 50)), ((5, 5), 1, (7, 7))]
)
def test_upsampling_is_bilinear_between_pixel_centres(
    shape: tuple[int, int], pad: int, size: tuple[int, int]
) -> None:
    map_ = np.random.default_rng(1).random(shape).astype(np.float32)
    expected = import_cv2().resize(np.pad(map_, pad), size[::-1], interpolation=1)
    result = upsample(map_, pad, size)
    assert result.dtype == np.float32 and result.shape == size
    np.testing.assert_allclose(result, expected, atol=2e-6)


def test_upsampling_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch")
    map_ = np.random.default_rng(2).random((56, 56)).astype(np.float32)
    padded = torch.nn.functional.pad(torch.from_numpy(map_), (4, 4, 4, 4))[None, None]
    expected = torch.nn.functional.interpolate(padded, (256, 256), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(upsample(map_, 4, (256, 256)), expected[0, 0].numpy(), atol=1e-6)


def test_upsampling_to_the_same_size_changes_nothing_but_the_border() -> None:
    map_ = np.random.default_rng(3).random((6, 5)).astype(np.float32)
    np.testing.assert_array_equal(upsample(map_, 2, (10, 9)), np.pad(map_, 2))
