import hashlib

import numpy as np
import pytest

from edge_ad.data.textures import N_CLASSES, texture
from edge_ad.errors import UsageError


@pytest.fixture(scope="module")
def one_of_each() -> list[np.ndarray]:
    return [texture(c, 3, 64) for c in range(N_CLASSES)]


def test_every_class_draws_a_picture_with_something_in_it(one_of_each):
    for c, image in enumerate(one_of_each):
        assert image.shape == (64, 64, 3) and image.dtype == np.uint8
        assert image.astype(float).mean(2).std() > 4, f"class {c} is blank"


def test_no_two_classes_draw_the_same_picture(one_of_each):
    assert len({hashlib.sha256(i.tobytes()).digest() for i in one_of_each}) == N_CLASSES


@pytest.mark.parametrize("size", [32, 80, 256])
def test_an_image_depends_on_class_and_seed_alone(size):
    np.random.seed(1)  # the global generator must play no part
    first = texture(40, 7, size)
    np.random.seed(2)
    assert np.array_equal(first, texture(40, 7, size))
    assert not np.array_equal(first, texture(40, 8, size))


def test_images_vary_in_brightness_contrast_and_colour():
    images = np.stack([texture(c, 11, 64) for c in range(0, N_CLASSES, 2)]).astype(float)
    means, deviations = images.mean((1, 2, 3)), images.std((1, 2, 3))
    coloured = np.abs(images[..., 0] - images[..., 2]).mean((1, 2)) > 2
    assert np.ptp(means) > 100 and np.ptp(deviations) > 40
    assert 0.1 < coloured.mean() < 0.6


@pytest.mark.parametrize(("index", "size"), [(-1, 64), (N_CLASSES, 64), (0, 16)])
def test_what_does_not_exist_is_a_usage_error(index, size):
    with pytest.raises(UsageError, match="texture"):
        texture(index, 0, size)
