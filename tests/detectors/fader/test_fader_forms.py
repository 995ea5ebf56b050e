"""FADeR's network: what is published, and that its staged form computes the same to the last digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor

from edge_ad.detectors.fader.comparison import Comparison
from edge_ad.detectors.fader.config import PRESETS, FaderConfig
from edge_ad.detectors.fader.forms import PlainNetwork, staged
from edge_ad.detectors.fader.masks import hide, make_mask, mosaic, worst_cells
from edge_ad.detectors.fader.network import Attenuation, Inpainter, UNet, make_gates
from edge_ad.detectors.fader.similarity import (
    GRADIENT_C,
    gradient_dissimilarity,
    gradient_similarity,
    gradients,
    msgms_loss,
    msgms_map,
    smooth,
    ssim_loss,
)


def _config(**changes: object) -> FaderConfig:
    return FaderConfig.model_validate({**PRESETS["micro"].model_dump(), **changes})


def _images(n: int, size: int = 64) -> Tensor:
    return torch.randint(0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )


@torch.no_grad()
def _network(config: FaderConfig) -> PlainNetwork:
    """Random weights, batch norms with statistics of their own, gates that open and close."""
    torch.manual_seed(5)
    unet = UNet(config.widths)
    for _ in range(3):
        unet(torch.rand(4, 3, config.size, config.size))
    gates = make_gates(config.widths, config.attenuated_levels, config.cell_px, config.attenuation)
    for gate in gates.values():
        torch.nn.init.normal_(gate.weigh.weight, std=3.0)
        torch.nn.init.zeros_(gate.weigh.bias)
        gate.prototype.uniform_()
    mask = make_mask(config)
    mask.fit(_images(12, config.size) // 2)
    comparison = Comparison(config)
    network = PlainNetwork(config, Inpainter(unet, gates), mask, comparison).eval().requires_grad_(False)
    good = _images(12, config.size) // 2
    comparison.fit((x, network.reconstruct(x).clamp(0, 1)) for x in good[:, None].float() / 255)
    return network


@pytest.mark.parametrize(("preset", "millions"), [("small", 0.587), ("micro", 0.148)])
def test_size_of_the_specification(preset: str, millions: float) -> None:
    unet = UNet(PRESETS[preset].widths)
    assert sum(p.numel() for p in unet.parameters()) / 1e6 == pytest.approx(millions, abs=0.0015)


def test_gate_has_two_layers_of_the_specified_size() -> None:
    """The specification's own example: 64 channels and a quarter of them hidden are 1,057 parameters."""
    gate = Attenuation(64, 8, replace=False)
    assert sum(p.numel() for p in gate.parameters()) == 1_057


@pytest.mark.parametrize("mask", ["mosaic", "template", "two-pass", "saliency"])
@pytest.mark.parametrize("attenuation", ["none", "soft", "prototype"])
@torch.no_grad()
def test_staged_is_the_plain_network(mask: str, attenuation: str) -> None:
    compare = "msgms" if attenuation == "none" else "both"
    changes = {"mask": mask, "attenuation": attenuation, "attenuated_levels": (0, 2)}
    plain = _network(_config(**changes, compare=compare, standardise=attenuation == "soft"))
    form = staged(plain)
    for image in _images(3):
        expected, found = plain(image[None]), form(image[None])
        assert expected.shape == (1, 1, 64, 64)
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert form.core_inputs == (2 if mask == "two-pass" else 1)


@torch.no_grad()
def test_a_gate_that_is_open_is_the_u_net_to_the_bit_and_one_that_closes_is_not() -> None:
    config = _config(attenuated_levels=(0, 1, 2))
    plain = _network(config)
    open_ = plain.without_attenuation()
    x = _images(1)
    assert not torch.equal(plain(x), open_(x))
    for gate in plain.inpainter.gates.values():
        gate.weigh.weight.zero_()
        gate.weigh.bias.fill_(200.0)
    assert torch.equal(plain(x), open_(x))
    assert torch.equal(staged(plain)(x), staged(open_)(x))


@torch.no_grad()
def test_a_closed_cell_shows_the_prototype_there_and_nowhere_else() -> None:
    gate = Attenuation(4, 8, replace=True)
    gate.prototype.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    features = torch.rand(1, 4, 32, 32)
    factors = torch.ones(1, 1, 4, 4)
    factors[..., 1, 2] = 0.0
    found = gate.apply_factors(features, factors)
    assert torch.equal(found[0, :, 8:16, 16:24], gate.prototype.view(4, 1, 1).expand(4, 8, 8))
    found[..., 8:16, 16:24] = features[..., 8:16, 16:24]
    assert torch.equal(found, features)


def test_gradients_of_a_ramp_and_of_an_edge() -> None:
    """Prewitt over 3 is the central difference of a row's mean: two steps of a ramp."""
    ramp = torch.arange(16.0).mul(0.01).expand(1, 1, 16, 16)
    for image in (ramp, ramp.transpose(2, 3)):
        magnitude = gradients(image)[1][0, 0, 1:-1, 1:-1]
        assert torch.allclose(magnitude, torch.tensor(0.02), atol=1e-5)
    both = gradients(ramp + ramp.transpose(2, 3))[1][0, 0, 1:-1, 1:-1]
    assert torch.allclose(both, torch.tensor(0.02 * 2**0.5), atol=1e-5)


def test_dissimilarity_is_one_minus_gms() -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.rand(2, 3, 32, 32, generator=generator), torch.rand(2, 3, 32, 32, generator=generator)
    x, y = x.double(), y.double()
    g1, g2 = (_magnitude(v) for v in (x, y))
    published = (2 * g1 * g2 + GRADIENT_C) / (g1**2 + g2**2 + GRADIENT_C)
    inside = np.s_[:, :, 1:-1, 1:-1]
    assert np.allclose(gradient_similarity(x.float(), y.float())[inside], published, atol=1e-5)
    assert np.allclose(1 - gradient_dissimilarity(x.float(), y.float())[inside], published, atol=1e-5)
    assert float(gradient_dissimilarity(x.float(), x.float()).abs().max()) == 0


def _magnitude(x: Tensor) -> np.ndarray:
    """Gradient magnitude by slices, without the border."""
    v = x.numpy()
    across = (v[..., 2:] - v[..., :-2])[..., :-2, :] + (v[..., 2:] - v[..., :-2])[..., 1:-1, :]
    across += (v[..., 2:] - v[..., :-2])[..., 2:, :]
    down = (v[..., 2:, :] - v[..., :-2, :])[..., :-2] + (v[..., 2:, :] - v[..., :-2, :])[..., 1:-1]
    down += (v[..., 2:, :] - v[..., :-2, :])[..., 2:]
    return np.hypot(across / 3, down / 3)


def test_map_and_loss_agree_and_find_the_change() -> None:
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    y = x.clone()
    y[..., 20:30, 40:50] = 0.5
    found = msgms_map(x, y)[0, 0]
    assert torch.allclose(found, msgms_map(x, y, published=True)[0, 0], atol=1e-5)
    row, column = divmod(int(smooth(found[None, None], 5).argmax()), 64)
    assert 18 <= row < 32 and 38 <= column < 52
    assert float(found[:8].abs().max()) == 0
    assert 0 < float(msgms_loss(x, y)) < 1 and float(msgms_loss(x, x)) == 0


def test_ssim_of_flat_images_and_of_equal_ones() -> None:
    """Without any structure SSIM is its luminance term (Wang et al. 2004, equation 6)."""
    a, b = torch.full((1, 1, 32, 32), 0.3), torch.full((1, 1, 32, 32), 0.6)
    expected = (2 * 0.3 * 0.6 + 1e-4) / (0.3**2 + 0.6**2 + 1e-4)
    assert float(1 - ssim_loss(a, b)) == pytest.approx(expected, rel=1e-3)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    assert float(ssim_loss(x, x)) == pytest.approx(0, abs=1e-6)
    assert float(ssim_loss(x, 1 - x)) > 1  # structure turned around


def test_standardised_maps_have_unit_scale_where_good_parts_vary_and_see_a_change_there() -> None:
    config = _config(compare="l2")
    generator = torch.Generator().manual_seed(9)
    comparison = Comparison(config)
    x = torch.full((1, 3, 64, 64), 0.5)
    noise = torch.rand(60, 1, 64, 64, generator=generator).expand(-1, 3, -1, -1).clone()
    noise[..., :32] *= 0.01  # the left half is always restored well
    pairs = [(x, x + n[None] * 0.2) for n in noise]
    comparison.fit(pairs)
    maps = torch.cat([comparison(*pair) for pair in pairs])
    assert float(maps.mean().abs()) < 1e-3
    assert 0.2 < float(maps[..., 36:].std(0).mean()) < 1.0 and float(maps[..., :28].std(0).mean()) < 0.01
    spoiled = x + noise[:1] * 0.2
    spoiled[..., 10:20, 10:20] += 0.15
    row, column = divmod(int(comparison(x, spoiled).argmax()), 64)
    assert 8 <= row < 22 and 8 <= column < 22


@pytest.mark.parametrize(("preset", "side"), [("small", 21), ("micro", 5)])
def test_smoothing_is_a_mean_filter(preset: str, side: int) -> None:
    assert PRESETS[preset].smoothing_px == side
    maps = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(4))
    inside = np.s_[side:-side, side:-side]
    expected = uniform_filter(maps[0, 0].numpy().astype(np.float64), side)
    assert np.allclose(smooth(maps, side)[0, 0].numpy()[inside], expected[inside], atol=1e-6)
    assert torch.allclose(smooth(torch.ones(1, 1, 64, 64), side), torch.ones(1))


def test_mosaic_is_the_mean_of_blocks_exactly() -> None:
    pixels = _images(1).float()
    found = mosaic(pixels, 8)
    blocks = pixels.numpy().astype(np.int64).reshape(3, 8, 8, 8, 8).sum((2, 4)) / 64
    assert np.array_equal(found[0].numpy(), blocks.repeat(8, 1).repeat(8, 2))


def test_what_is_not_hidden_is_shown_to_the_bit() -> None:
    pixels = _images(1).float()
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 3, 5] = 1.0
    found = hide(pixels, mask, 4)
    assert torch.equal(found[..., 12:16, 20:24], mosaic(pixels, 4)[..., 12:16, 20:24])
    found[..., 12:16, 20:24] = pixels[..., 12:16, 20:24]
    assert torch.equal(found, pixels)


def test_worst_cells_are_the_worst_ones() -> None:
    x = torch.zeros(2, 3, 64, 64)
    y = x.clone()
    y[0, :, 4:8, 60:64] = 1.0
    y[0, :, 8:12, 0:4] = 0.5
    y[1, :, 0:4, 0:4] = 0.2
    y += torch.rand(y.shape, generator=torch.Generator().manual_seed(6)) * 1e-3
    hidden = worst_cells(x, y, 4, 2 / 256)
    assert hidden.sum((1, 2, 3)).tolist() == [2, 2]
    assert hidden[0, 0, 1, 15] == 1 and hidden[0, 0, 2, 0] == 1 and hidden[1, 0, 0, 0] == 1


def test_template_hides_the_changed_cell_and_its_neighbours_alone() -> None:
    config = _config(mask="template")
    generator = torch.Generator().manual_seed(7)
    base = torch.randint(60, 180, (1, 3, 64, 64), generator=generator)
    images = (base + torch.randint(-8, 9, (40, 3, 64, 64), generator=generator)).to(torch.uint8)
    mask = make_mask(config)
    mask.fit(images)
    x = base.float() / 255
    assert mask(x).sum() == 0
    x[..., 20:24, 32:36] += 0.2
    hidden = mask(x)[0, 0]
    assert hidden.sum() == 9 and hidden[4:7, 7:10].sum() == 9


def test_saliency_hides_the_share_of_good_parts_and_foreign_texture_above_all() -> None:
    config = _config(mask="saliency", mask_share=0.1, size=128)
    generator = torch.Generator().manual_seed(8)
    images = torch.randint(100, 120, (20, 3, 128, 128), generator=generator).to(torch.uint8)
    mask = make_mask(config)
    mask.fit(images)
    x = images.float() / 255
    assert float(mask(x).mean()) == pytest.approx(0.1, abs=0.01)
    x[:, :, 24:40, 24:40] = torch.rand(20, 3, 16, 16, generator=generator)
    hidden = mask(x)
    assert float(hidden[..., 7:9, 7:9].mean()) == 1.0
    assert float(hidden[..., 20:, :].mean()) < 0.15  # beyond the PDN's 33 px


@pytest.mark.parametrize(
    "wrong",
    [{"cell_px": 4, "attenuated_levels": (3,)}, {"attenuated_levels": ()}, {"size": 65}, {"batch": 1}],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter({"attenuated_levels"} & wrong.keys() or wrong))):
        _config(**wrong)
