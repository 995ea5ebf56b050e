"""A TSPulse for boards that is as small as one can be and still has every one of its operators."""

from __future__ import annotations

import numpy as np
import torch

from edge_ad.compile.integer.detectors.form import BoardForm
from edge_ad.compile.integer.detectors.tspulse.lowering import network_form
from edge_ad.compile.integer.detectors.tspulse.network import ErrorScales
from edge_ad.compile.integer.detectors.tspulse.quantize import integer_network
from edge_ad.detectors.tspulse.config import PRESETS
from edge_ad.detectors.tspulse.network import Core
from edge_ad.detectors.tspulse.scaling import Scaling

CONFIG = PRESETS["micro"].model_copy(
    update={"context": 64, "width": 6, "layers": 1, "decoder_layers": 1, "registers": 1}
)
CHANNELS = 2


def windows(count: int) -> list[np.ndarray]:
    """Standardised windows (1, CHANNELS, 64)."""
    rng = np.random.default_rng(0)
    return [
        rng.normal(0, 0.3, (1, CHANNELS, CONFIG.context)).cumsum(2).astype(np.float32) for _ in range(count)
    ]


def form() -> BoardForm:
    """Of weights at random, with its score."""
    torch.manual_seed(1)
    network = integer_network(CONFIG, Scaling(CONFIG), Core(CONFIG).eval(), windows(6))
    one = np.ones((3, CHANNELS), np.int32)
    return network_form(network, ErrorScales(one << 30, one, 2))
