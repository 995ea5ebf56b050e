"""TSPulse's network: shapes, Fourier matrices, masks, and what its score must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_ad.detectors.tspulse.config import PRESETS, TsPulseConfig
from edge_ad.detectors.tspulse.masking import draw_masks, newest_mask
from edge_ad.detectors.tspulse.network import Core, core_parameters
from edge_ad.detectors.tspulse.scaling import Scaling, fourier_matrices
from edge_ad.detectors.tspulse.stages import STREAMS, PlainNetwork, scoring_network

MICRO = PRESETS["micro"]


def modules(config: TsPulseConfig = MICRO) -> tuple[Scaling, Core]:
    """Modules with every statistic away from its initial value."""
    torch.manual_seed(1)
    scaling, core = Scaling(config), Core(config)
    with torch.no_grad():
        scaling.gain.fill_(1.3)
        scaling.offset.fill_(-0.2)
        for name, buffer in core.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return scaling.eval(), core.eval()


def windows(channels: int, config: TsPulseConfig = MICRO, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, channels, config.context, generator=torch.Generator().manual_seed(seed))


def test_the_presets_have_the_sizes_that_they_are_named_after() -> None:
    """Weights of the published formula: a patch mixer has 2 N^2 e + N (e + 1) + N^2 + N, see docs/tspulse.md."""
    assert core_parameters(PRESETS["tiny"]) == 78_108
    assert core_parameters(PRESETS["micro"]) == 20_008
    full = core_parameters(PRESETS["full"]) + sum(p.numel() for p in Scaling(PRESETS["full"]).parameters())
    assert full == 996_146  # as many as the published classes have without their training-only heads
    assert PRESETS["full"].tokens == 138


@pytest.mark.parametrize("size", [32, 256, 512])
def test_fourier_matrices_are_those_of_rfft(size: int) -> None:
    forward, inverse = fourier_matrices(size)
    x = torch.randn(5, size, generator=torch.Generator().manual_seed(0))
    bins, half = x @ forward, size // 2
    expected = torch.fft.rfft(x)
    scale = float(expected.abs().max())
    torch.testing.assert_close(bins[:, :half], expected.real[:, :half], rtol=0, atol=1e-5 * scale)
    torch.testing.assert_close(bins[:, half : 2 * half], expected.imag[:, :half], rtol=0, atol=1e-5 * scale)
    torch.testing.assert_close(bins[:, -1], expected.real[:, half], rtol=0, atol=1e-5 * scale)
    torch.testing.assert_close(bins @ inverse, x, rtol=0, atol=1e-5)


def test_parseval() -> None:
    x = torch.randn(4, 256, generator=torch.Generator().manual_seed(2))
    bins = x @ fourier_matrices(256)[0]
    weight = torch.full((257,), 2.0)
    weight[[0, 128, 256]] = 1.0  # bin 0, the imaginary part of bin 0 (always zero), bin S/2
    torch.testing.assert_close((weight * bins.square()).sum(1) / 256, x.square().sum(1), rtol=1e-4, atol=0)


def test_a_spectrum_leads_back_to_its_series() -> None:
    scaling, _ = modules()
    x = torch.randn(3, MICRO.context, generator=torch.Generator().manual_seed(3))
    spectrum = scaling.spectrum(x)
    assert float(spectrum.values.abs().max()) <= 1
    torch.testing.assert_close(scaling.series(spectrum.values, spectrum), x, rtol=0, atol=2e-5)
    torch.testing.assert_close(scaling.series(spectrum.values, spectrum, 240), x[:, 240:], rtol=0, atol=2e-5)


def test_scaling_hides_masked_samples_and_is_undone() -> None:
    scaling, _ = modules()
    x = windows(4)[0] * 3 + 7
    observed = (torch.rand(x.shape, generator=torch.Generator().manual_seed(4)) > 0.4).float()
    scale = scaling.statistics(x, observed)
    scaled = scaling.scaled(x, observed, scale)
    other = torch.where(observed > 0, x, x + 1000)
    assert torch.equal(scaled, scaling.scaled(other, observed, scaling.statistics(other, observed)))
    back = scaling.unscaled(scaled, scale)
    torch.testing.assert_close(back[observed > 0], x[observed > 0], rtol=1e-5, atol=1e-4)
    for row in range(4):
        kept = x[row][observed[row] > 0]
        torch.testing.assert_close(scale.mean[row, 0], kept.mean())
        torch.testing.assert_close(scale.std[row, 0], kept.std(correction=0))


@pytest.mark.parametrize("preset", list(PRESETS))
@torch.no_grad()
def test_the_staged_network_computes_the_published_errors(preset: str) -> None:
    config = PRESETS[preset]
    scaling, core = modules(config)
    x = windows(3, config) * 2 + 1
    x[0, 2] = 0.25  # a constant channel: its scale is the floor's
    plain, staged = PlainNetwork(config, scaling, core).eval()(x), scoring_network(scaling, core).eval()(x)
    assert plain.shape == (1, len(STREAMS), 3)
    torch.testing.assert_close(staged, plain, rtol=2e-4, atol=1e-5)


@torch.no_grad()
def test_channels_do_not_see_each_other() -> None:
    scaling, core = modules()
    network, x = scoring_network(scaling, core).eval(), windows(5)
    alone = torch.cat([network(x[:, c : c + 1]) for c in range(5)], dim=2)
    torch.testing.assert_close(network(x), alone, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_reconstructions_follow_shift_and_scale_of_the_window() -> None:
    """x to a x + b changes the reconstruction errors by a^2 and nothing else (RevIN)."""
    scaling, core = modules()
    network, x = scoring_network(scaling, core).eval(), windows(2)
    before, after = network(x), network(3 * x - 5)
    torch.testing.assert_close(after[:, :2], 9 * before[:, :2], rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_the_reconstruction_never_sees_the_newest_patch() -> None:
    scaling, core = modules()
    front, x = scoring_network(scaling, core).front.eval(), windows(2)
    other = x.clone()
    other[:, :, -MICRO.patch :] += 100
    seen, changed = front(x), front(other)
    assert torch.equal(seen[0], changed[0]) and torch.equal(seen[1], changed[1])
    assert not torch.equal(seen[2], changed[2])  # what the tail compares with


@pytest.mark.parametrize("masking", ["newest", "block", "hybrid", "variable-hybrid"])
def test_masks(masking: str) -> None:
    config = MICRO.model_copy(update={"masking": masking, "newest_share": 0.0, "mask_ratio": 0.25})
    masks = draw_masks(config, 400, torch.Generator().manual_seed(0))
    assert masks.shape == (400, config.context)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    hidden = masks.sum(1)
    whole = masks.reshape(400, -1, config.patch).mean(2)
    if masking == "newest":
        assert torch.equal(masks, newest_mask(config).expand(400, -1))
    elif masking == "block":
        assert (hidden == 64).all() and set(whole.unique().tolist()) == {0.0, 1.0}
    elif (
        masking == "hybrid"
    ):  # a quarter of 256 samples, a fifth of them in whole patches: none fits 12.8 samples
        assert (hidden == 64).all()
    else:
        assert hidden.min() >= 1 and hidden.max() <= 64 and len(hidden.unique()) > 30


def test_hybrid_masks_hold_the_whole_patches_that_they_should() -> None:
    config = MICRO.model_copy(
        update={"masking": "hybrid", "newest_share": 0.0, "mask_ratio": 0.5, "patch_share": 0.5}
    )
    masks = draw_masks(config, 200, torch.Generator().manual_seed(0))
    assert (masks.sum(1) == 128).all()
    assert ((masks.reshape(200, -1, 16).sum(2) == 16).sum(1) >= 4).all()


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1))
def test_the_share_that_is_masked_as_scoring_does_it(share: float) -> None:
    config = MICRO.model_copy(update={"newest_share": share})
    masks = draw_masks(config, 2000, torch.Generator().manual_seed(5))
    found = float((masks == newest_mask(config)).all(1).float().mean())
    assert abs(found - share) < 0.05


def test_same_generator_same_masks() -> None:
    one, other = (draw_masks(MICRO, 8, torch.Generator().manual_seed(9)) for _ in range(2))
    assert torch.equal(one, other)


def test_a_context_that_patches_do_not_fill_is_refused() -> None:
    with pytest.raises(ValidationError, match="two patches"):
        TsPulseConfig.model_validate(MICRO.model_dump() | {"context": 250})


def test_the_inverse_transform_needs_only_the_newest_rows() -> None:
    _, inverse = fourier_matrices(64)
    bins = np.random.default_rng(0).standard_normal((2, 65)).astype(np.float32)
    whole = torch.from_numpy(bins) @ inverse
    torch.testing.assert_close(torch.from_numpy(bins) @ inverse[:, 48:], whole[:, 48:])
