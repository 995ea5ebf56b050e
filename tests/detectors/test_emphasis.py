import numpy as np
import pytest
import torch

from edge_ad.data.textures import texture
from edge_ad.detectors.efficientad.emphasis import (
    affected_positions,
    defect_moment,
    emphasise,
    fit_emphasis,
)
from edge_ad.detectors.efficientad.network import PDN
from edge_ad.detectors.efficientad.statistics import whiten
from edge_ad.detectors.efficientad.teacher import random_dct_pdn
from edge_ad.errors import ModelError

WIDTHS, CHANNELS = (8, 8, 8), 12


@pytest.fixture(scope="module")
def teacher():
    return random_dct_pdn(WIDTHS, CHANNELS).eval()


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(np.stack([texture(70, i, 128) for i in range(6)]).transpose(0, 3, 1, 2).copy())


def covariance(seed=0, channels=5):
    mix = np.random.default_rng(seed).normal(size=(channels, channels))
    return mix @ mix.T


def test_positions_are_those_of_the_network_and_a_defect_marks_those_that_look_at_it():
    masks = np.zeros((1, 128, 128), bool)
    masks[0, 60:68, 80:88] = (
        True  # the receptive field of output (i, j) is centred on pixel (4i + 16, 4j + 16)
    )
    affected = affected_positions(masks)
    assert affected.shape[1:] == PDN(WIDTHS, CHANNELS)(torch.zeros(1, 3, 128, 128)).shape[2:]
    rows, columns = affected[0].nonzero().T
    assert affected[0, 12, 17]
    assert (4 * rows + 16 - 64).abs().max() <= 13 and (4 * columns + 16 - 84).abs().max() <= 13


def test_power_zero_is_whitening():
    mean, cov, moment = np.arange(5.0), covariance(0), covariance(1)
    plain, zero = whiten(mean, cov), emphasise(mean, cov, moment, power=0)
    np.testing.assert_allclose(zero.matrix, plain.matrix, atol=1e-9)
    np.testing.assert_allclose(zero.bias, plain.bias, atol=1e-9)


def test_directions_count_by_the_power_of_what_defects_do_there():
    """Two independent channels; defects move the first 9 times as far as normal images do, the second as far."""
    moment = np.diag([81.0, 1.0])
    for power in (0.5, 1.0):
        matrix = emphasise(np.zeros(2), np.eye(2), moment, power=power, floor=1e-9).matrix
        assert (matrix[0, 0] / matrix[1, 1]) ** 2 == pytest.approx(81**power)


def test_with_power_one_the_length_is_the_mean_squared_product_with_the_defects():
    rng = np.random.default_rng(3)
    cov, defects = covariance(2), rng.normal(size=(40, 5))
    transform = emphasise(np.zeros(5), cov, defects.T @ defects / 40, power=1.0, floor=1e-9)
    x = rng.normal(size=(30, 5))
    expected = ((x @ np.linalg.inv(cov) @ defects.T) ** 2).mean(1)
    lengths = ((x @ transform.matrix.T) ** 2).sum(1)
    np.testing.assert_allclose(lengths / expected, lengths[0] / expected[0], rtol=1e-5)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_mean_variance_on_normal_images_is_one(power):
    cov = covariance(4)
    matrix = emphasise(np.zeros(5), cov, covariance(5), power=power).matrix
    assert np.trace(matrix @ cov @ matrix.T) / 5 == pytest.approx(1)


def test_a_channel_that_never_varies_is_silenced():
    cov = covariance(6)
    cov[2] = cov[:, 2] = 0
    matrix = emphasise(np.zeros(5), cov, np.eye(5)).matrix
    assert np.isfinite(matrix).all()
    np.testing.assert_allclose(matrix[:, 2], 0, atol=1e-9)


def test_a_power_out_of_range_is_an_error():
    with pytest.raises(ModelError, match="within 0 and 1, not 2"):
        emphasise(np.zeros(2), np.eye(2), np.eye(2), power=2)


def test_the_fit_is_repeatable_and_leaves_the_images_alone(teacher, images):
    before = images.clone()
    first, again = fit_emphasis(teacher, images, 7), fit_emphasis(teacher, images, 7)
    assert torch.equal(images, before)
    np.testing.assert_array_equal(first.matrix, again.matrix)
    assert not np.allclose(first.matrix, fit_emphasis(teacher, images, 8).matrix)


def test_defects_move_the_outputs_of_a_plain_surface_more_than_its_own_texture_does(teacher):
    noise = np.random.default_rng(0).normal(128, 4, (6, 1, 128, 128))
    images = torch.from_numpy(noise.round().astype(np.uint8).repeat(3, 1))
    transform = fit_emphasis(teacher, images, 0, power=0.0)
    mean = -np.linalg.solve(transform.matrix, transform.bias)
    moment = defect_moment(teacher, images, mean, 1)
    assert np.trace(transform.matrix @ moment @ transform.matrix.T) / CHANNELS > 5


def test_images_without_a_visible_defect_are_an_error(teacher, monkeypatch):
    blank = torch.full((2, 3, 64, 64), 90, dtype=torch.uint8)
    monkeypatch.setattr(
        "edge_ad.detectors.efficientad.emphasis.defective",
        lambda images, *_: (images, np.zeros(images.shape[:3], bool)),
    )
    with pytest.raises(ModelError, match="no synthetic defect"):
        defect_moment(teacher, blank, np.zeros(CHANNELS), 0)
