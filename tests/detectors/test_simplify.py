"""The simplified network is the published one: same maps, fewer operations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_ad.detectors.efficientad.config import PRESETS
from edge_ad.detectors.efficientad.network import PDN, Autoencoder
from edge_ad.detectors.efficientad.simplify import MEAN, STD, PlainNetwork, SimplifiedNetwork, normalise
from edge_ad.detectors.efficientad.statistics import OutputTransform


def _plain(preset: str) -> PlainNetwork:
    torch.manual_seed(3)
    config = PRESETS[preset]
    c = config.channels
    rng = np.random.default_rng(3)
    transform = OutputTransform(rng.normal(size=(c, c)) / np.sqrt(c), rng.normal(size=c))
    teacher = PDN(config.widths, c)
    student = PDN(config.widths, c * (2 if config.autoencoder else 1))
    autoencoder = Autoencoder(config.size, c) if config.autoencoder else None
    return PlainNetwork(teacher, transform, student, autoencoder).eval()


@pytest.mark.parametrize("preset", ["small", "tiny", "micro"])
@torch.no_grad()
def test_simplified_equals_plain(preset: str) -> None:
    plain = _plain(preset)
    size = PRESETS[preset].size
    pixels = torch.randint(
        0, 256, (1, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    expected, simplified = plain(pixels), SimplifiedNetwork(plain).eval()(pixels)
    assert expected.shape == (1, 2 if PRESETS[preset].autoencoder else 1, size // 4 - 8, size // 4 - 8)
    assert (expected - simplified).abs().max() <= 1e-4 * expected.abs().max()


@torch.no_grad()
def test_extreme_pixels_agree_at_the_border() -> None:
    """The autoencoder pads: a wrongly folded normalisation shows at the rim of black and white images first."""
    plain = _plain("tiny")
    simplified = SimplifiedNetwork(plain).eval()
    for value in (0, 255):
        pixels = torch.full((1, 3, 128, 128), value, dtype=torch.uint8)
        expected = plain(pixels)
        assert (expected - simplified(pixels)).abs().max() <= 1e-4 * expected.abs().max()


@torch.no_grad()
def test_maps_are_the_papers_formula() -> None:
    plain = _plain("tiny")
    pixels = torch.randint(0, 256, (1, 3, 128, 128), dtype=torch.uint8)
    x = (pixels.float() / 255 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    assert torch.allclose(normalise(pixels), x)
    teacher = plain.teacher(x)[0].double().flatten(1)
    target = plain.matrix.double() @ teacher + plain.bias.double()[:, None]
    student = plain.student(x)[0].double().flatten(1)
    autoencoder = plain.autoencoder(x)[0].double().flatten(1)
    expected = torch.stack(
        [((target - student[:64]) ** 2).mean(0), ((autoencoder - student[64:]) ** 2).mean(0)]
    ).view(1, 2, 24, 24)
    assert torch.allclose(plain(pixels).double(), expected, rtol=1e-4)


def test_paper_sizes() -> None:
    """Parameter counts of the specification: 2,694,144 teacher, 4,267,392 student, 1,096,320 autoencoder."""
    config = PRESETS["small"]
    counts = [
        sum(p.numel() for p in module.parameters())
        for module in (
            PDN(config.widths, config.channels),
            PDN(config.widths, 2 * config.channels),
            Autoencoder(config.size, config.channels),
        )
    ]
    assert counts == [2_694_144, 4_267_392, 1_096_320]
