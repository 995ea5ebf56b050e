"""Small detectors of images with weights that nobody fitted, and images for them."""

from __future__ import annotations

import numpy as np
import torch

from edge_ad.data.splits import Splits
from edge_ad.detectors.base import Detector
from edge_ad.detectors.efficientad.config import PRESETS
from edge_ad.detectors.efficientad.detector import EfficientAd
from edge_ad.detectors.efficientad.network import PDN, Autoencoder
from edge_ad.detectors.efficientad.statistics import OutputTransform
from edge_ad.detectors.fader.comparison import Comparison
from edge_ad.detectors.fader.config import PRESETS as FADER_PRESETS
from edge_ad.detectors.fader.config import FaderConfig
from edge_ad.detectors.fader.detector import Fader
from edge_ad.detectors.fader.masks import make_mask
from edge_ad.detectors.fader.network import Inpainter, UNet, make_gates

SPLITS = Splits(seed=0, fit=[], calibration=[], threshold=[])


def images(n: int, size: int, seed: int = 0) -> list[np.ndarray]:
    """(1, 3, size, size) uint8: smooth, with a few grey levels of noise and a bright square in every third."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    found = []
    for i in range(n):
        image = (
            110
            + 60 * np.sin(7 * x + rng.uniform(0, 3))
            + 30 * np.cos(9 * y)
            + rng.normal(0, 4, (1, 3, size, size))
        )
        if i % 3 == 2:
            image[..., size // 3 : size // 2, size // 2 : size // 2 + 6] = 250
        found.append(np.clip(image, 0, 255).round().astype(np.uint8))
    return found


def efficientad(*, autoencoder: bool = False) -> EfficientAd:
    """Small, with any weights; the student is a noisy copy of the teacher, so that differences are small."""
    torch.manual_seed(0)
    size = 128 if autoencoder else 64
    config = PRESETS["micro"].model_copy(
        update={"size": size, "widths": (8, 8, 12), "channels": 16, "autoencoder": autoencoder}
    )
    teacher, student = PDN(config.widths, 16), PDN(config.widths, 32 if autoencoder else 16)
    with torch.no_grad():
        for mine, theirs in zip(student.parameters(), teacher.parameters(), strict=True):
            if mine.shape == theirs.shape:
                mine.copy_(theirs + 0.1 * theirs.std() * torch.randn_like(theirs))
    scale = np.diag(np.random.default_rng(1).uniform(2, 6, 16))
    transform = OutputTransform(scale, np.zeros(16))
    student.conv4.weight.data[:16] = teacher.conv4.weight.data * torch.from_numpy(np.diag(scale).copy()).view(
        -1, 1, 1, 1
    )
    auto = Autoencoder(size, 16, width=8) if autoencoder else None
    return EfficientAd(config, SPLITS, teacher, transform, student, auto, {}, {"autoencoder_trust": 0.6})


def fader(**changed: object) -> Fader:
    torch.manual_seed(0)
    config = FaderConfig.model_validate(
        FADER_PRESETS["micro"].model_dump() | {"widths": (4, 4, 8, 8)} | changed
    )
    gates = make_gates(config.widths, config.attenuated_levels, config.cell_px, config.attenuation)
    for gate in gates.values():
        torch.nn.init.normal_(gate.weigh.weight, 0, 2)
    unet = UNet(config.widths)
    for _ in range(3):
        unet(torch.rand(4, 3, 64, 64))  # statistics for its batch norms
    with torch.no_grad():
        unet.out.weight.mul_(0.3)
        unet.out.bias.fill_(0.45)
    detector = Fader(config, SPLITS, Inpainter(unet, gates).eval(), make_mask(config), Comparison(config))
    normal = torch.from_numpy(np.concatenate(images(8, 64)))
    detector.mask.fit(normal)
    plain = detector.network()
    with torch.no_grad():
        x = normal.float() / 255
        detector.comparison.fit([(a[None], plain.reconstruct(a[None]).clamp(0, 1)) for a in x])
    return detector


def maps_of(detector: Detector, image: np.ndarray) -> np.ndarray:
    """Of the network as published, in float."""
    with torch.no_grad():
        return detector.network()(torch.from_numpy(image)).numpy()
