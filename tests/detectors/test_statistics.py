import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edge_ad.detectors.efficientad.statistics import (
    feature_statistics,
    fold_into,
    standardise,
    whiten,
)
from edge_ad.errors import ModelError


def outputs(seed=0, images=6, channels=5, side=7, offset=0.0):
    """Correlated channels of very different scales."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    scale = 10.0 ** torch.arange(channels)
    raw = torch.randn(images, channels, side, side, generator=generator, dtype=torch.float64)
    return torch.einsum("dc,nchw->ndhw", mix, raw) * scale.view(1, -1, 1, 1) + offset


def rows(tensor):
    return tensor.movedim(1, -1).reshape(-1, tensor.shape[1]).numpy()


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 5), max_size=3, unique=True), offset=st.sampled_from([0.0, 1e7]))
def test_streaming_agrees_with_numpy_however_the_images_are_batched(cuts, offset):
    data = outputs(offset=offset)
    mean, covariance = feature_statistics(torch.tensor_split(data, sorted(cuts)))
    np.testing.assert_allclose(mean, rows(data).mean(0), rtol=1e-9, atol=1e-9)
    reference = np.cov(rows(data).T, bias=True)
    scale = np.sqrt(np.outer(np.diag(reference), np.diag(reference)))
    assert np.abs(covariance - reference).max() <= 1e-6 * scale.max()
    assert (np.abs(covariance - reference) / scale).max() < 1e-5


def test_statistics_of_nothing_and_of_nan_are_errors():
    with pytest.raises(ModelError, match="no image"):
        feature_statistics([])
    with pytest.raises(ModelError, match="not finite"):
        feature_statistics([torch.full((1, 2, 3, 3), float("nan"))])


def transformed(data, transform):
    return rows(data) @ transform.matrix.T + transform.bias


def test_standardise_gives_unit_channels_and_leaves_correlations():
    data = outputs()
    result = transformed(data, standardise(*feature_statistics([data])))
    np.testing.assert_allclose(result.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(result.std(0), 1, rtol=1e-9)
    np.testing.assert_allclose(np.corrcoef(result.T), np.corrcoef(rows(data).T), atol=1e-9)


def test_full_whitening_with_a_tiny_floor_gives_the_identity_covariance():
    data = outputs()
    result = transformed(data, whiten(*feature_statistics([data]), floor=1e-12))
    np.testing.assert_allclose(np.cov(result.T, bias=True), np.eye(5), atol=1e-6)


def test_squared_length_after_whitening_is_the_mahalanobis_distance():
    data = outputs()
    mean, covariance = feature_statistics([data])
    centred = rows(data) - mean
    distance = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred)
    result = transformed(data, whiten(mean, covariance, floor=1e-12))
    np.testing.assert_allclose((result**2).sum(1), distance, rtol=1e-5)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_mean_variance_is_one_at_every_strength(strength):
    data = outputs()
    result = transformed(data, whiten(*feature_statistics([data]), strength=strength))
    assert result.var(0).mean() == pytest.approx(1)


def test_strength_zero_is_standardise():
    statistics = feature_statistics([outputs()])
    weak, plain = whiten(*statistics, strength=0.0), standardise(*statistics)
    np.testing.assert_allclose(weak.matrix, plain.matrix, atol=1e-12)
    np.testing.assert_allclose(weak.bias, plain.bias, atol=1e-9)


def test_whitening_evens_out_directions_more_the_stronger_it_is():
    data = outputs()
    statistics = feature_statistics([data])

    def unevenness(strength):
        result = transformed(data, whiten(*statistics, strength=strength, floor=1e-6))
        return np.linalg.cond(np.cov(result.T))

    assert unevenness(0.0) > unevenness(0.5) > unevenness(1.0)


def test_the_floor_bounds_the_gain_of_directions_that_hardly_vary():
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(4, 1, 9, 9, generator=generator, dtype=torch.float64)
    twin = base + 1e-6 * torch.randn(4, 1, 9, 9, generator=generator, dtype=torch.float64)
    transform = whiten(*feature_statistics([torch.cat([base, twin], 1)]), floor=0.01)
    assert np.linalg.norm(transform.matrix, 2) < 20  # without a floor it would be about 10^6


@pytest.mark.parametrize("make", [standardise, whiten])
def test_a_channel_that_never_varies_is_silenced(make):
    data = outputs()
    data[:, 2] = 4.0
    transform = make(*feature_statistics([data]))
    unseen = outputs(seed=9)
    assert np.isfinite(transform.matrix).all()
    assert np.all(transform.matrix[:, 2] == 0) and np.all(transformed(unseen, transform)[:, 2] == 0)


@pytest.mark.parametrize("make", [standardise, whiten])
def test_blank_images_are_an_error_that_says_so(make):
    with pytest.raises(ModelError, match="same everywhere"):
        make(*feature_statistics([torch.ones(2, 3, 4, 4)]))


@pytest.mark.parametrize("wrong", [{"floor": 0.0}, {"floor": -1.0}, {"strength": 1.5}, {"strength": -0.1}])
def test_whitening_settings_out_of_range_are_errors(wrong):
    with pytest.raises(ModelError, match="whitening"):
        whiten(np.zeros(2), np.eye(2), **wrong)


@pytest.mark.parametrize("bias", [True, False])
def test_folding_gives_what_transforming_the_outputs_gives(bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 5, 4, bias=bias).double()
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    transform = whiten(*feature_statistics([conv(x)]))
    expected = torch.einsum("dc,nchw->ndhw", torch.from_numpy(transform.matrix), conv(x))
    expected = expected + torch.from_numpy(transform.bias).view(1, -1, 1, 1)
    folded = fold_into(conv, transform)
    assert folded.weight.dtype == torch.float32
    torch.testing.assert_close(folded.double()(x), expected, rtol=1e-5, atol=1e-5)


def test_folding_leaves_the_original_alone_and_refuses_another_size():
    conv = nn.Conv2d(3, 4, 4)
    before = conv.weight.clone()
    fold_into(conv, standardise(np.zeros(4), 4 * np.eye(4)))
    assert torch.equal(conv.weight, before)
    with pytest.raises(ModelError, match="5 channels does not fit 4"):
        fold_into(conv, standardise(np.zeros(5), np.eye(5)))
