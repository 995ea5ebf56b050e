import numpy as np
import pytest

from edge_ad.data.defects import add_defect, defective
from edge_ad.data.textures import texture


@pytest.fixture(scope="module")
def images():
    return np.stack([texture(c, 5, 128) for c in (20, 45, 60, 75, 100, 115)])


def test_defects_lie_where_the_mask_says_and_nowhere_else(images):
    changed, masks = defective(images, 3)
    assert changed.shape == images.shape and changed.dtype == np.uint8 and masks.shape == images.shape[:3]
    change = np.abs(changed.astype(int) - images).mean(3)
    assert change[masks].mean() > 10
    assert change[~masks].mean() < 1
    assert masks.any((1, 2)).all() and masks.mean() < 0.3


def test_the_normal_images_themselves_are_left_alone(images):
    before = images.copy()
    defective(images, 3)
    assert np.array_equal(images, before)


def test_the_seed_decides(images):
    first, again, other = defective(images, 3), defective(images, 3), defective(images, 4)
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_grey_images_stay_grey():
    grey = np.repeat(texture(30, 1, 128).mean(2, keepdims=True).astype(np.uint8), 3, axis=2)[None]
    changed, _ = defective(grey, 0, per_image=6)
    assert np.array_equal(changed[..., 0], changed[..., 1]) and np.array_equal(
        changed[..., 0], changed[..., 2]
    )


def test_coloured_images_get_coloured_defects():
    coloured = np.full((8, 96, 96, 3), (120, 121, 120), np.uint8)
    changed, masks = defective(coloured, 1, per_image=3)
    assert np.ptp(changed[masks].astype(int), axis=1).max() > 20


@pytest.mark.parametrize("shape", [(64, 64), (96, 200), (33, 47)])
def test_images_smaller_than_a_patch_and_oblong_ones_work(shape):
    changed, masks = defective(np.full((2, *shape, 3), 120, np.uint8), 0)
    assert changed.shape == (2, *shape, 3) and masks.any((1, 2)).all()


def test_values_stay_in_range_and_the_mask_is_what_is_visible():
    rng = np.random.default_rng(0)
    patch = texture(50, 0, 96) / np.float32(255)
    donor = texture(51, 0, 96) / np.float32(255)
    for _ in range(60):
        changed, mask = add_defect(patch, donor, rng)
        assert changed.dtype == np.float32 and changed.min() >= 0 and changed.max() <= 1
        assert np.abs(changed - patch).mean(2)[~mask].max() < 0.3  # 3x3 average of it is below 0.03
        assert mask.sum() >= 6


def test_defects_of_images_that_will_be_reduced_are_as_much_larger():
    given = np.stack([texture(c, 5, 384) for c in (20, 45, 60, 75, 100, 115)])
    _, usual = defective(given, 3)
    changed, masks = defective(given, 3, scale=2)
    assert 2.5 < masks.mean() / usual.mean() < 6  # 4 times the area, less what overlaps
    change = np.abs(changed.astype(int) - given).mean(3)
    assert change[masks].mean() > 10 and change[~masks].mean() < 1
