"""One small detector of each kind with weights that were drawn, not learnt, and normal inputs for it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch

from edge_ad.bundle.manifest import InputSpec, WindowSpec
from edge_ad.compile.prune import PruningData
from edge_ad.data.inputs import Inputs
from edge_ad.data.series_splits import SeriesSplits
from edge_ad.data.splits import Splits
from edge_ad.detectors.autoencoder.config import PRESETS as AUTOENCODERS
from edge_ad.detectors.autoencoder.detector import Autoencoder
from edge_ad.detectors.autoencoder.network import untrained
from edge_ad.detectors.base import Detector
from edge_ad.detectors.efficientad.config import PRESETS as EFFICIENTADS
from edge_ad.detectors.efficientad.detector import EfficientAd
from edge_ad.detectors.efficientad.network import PDN
from edge_ad.detectors.efficientad.network import Autoencoder as Decoding
from edge_ad.detectors.efficientad.statistics import OutputTransform
from edge_ad.detectors.efficientad.teacher import load_teacher
from edge_ad.detectors.fader.comparison import Comparison
from edge_ad.detectors.fader.config import PRESETS as FADERS
from edge_ad.detectors.fader.detector import Fader
from edge_ad.detectors.fader.fit import fit_comparison
from edge_ad.detectors.fader.masks import make_mask
from edge_ad.detectors.fader.network import Inpainter, UNet, make_gates
from edge_ad.detectors.starnet.config import PRESETS as STARNETS
from edge_ad.detectors.starnet.detector import StarNet
from edge_ad.detectors.starnet.network import Decoder, Encoder, Front
from edge_ad.detectors.tspulse.config import PRESETS as TSPULSES
from edge_ad.detectors.tspulse.detector import TsPulse
from edge_ad.detectors.tspulse.network import Core
from edge_ad.detectors.tspulse.scaling import Scaling
from edge_ad.runtime.scan_images import RANGE_CHANNELS, range_image_spec
from edge_ad.runtime.series.standardise import standardise_spec

KINDS = ("autoencoder", "efficientad", "efficientad-ae", "fader", "starnet", "tspulse")
_SPLITS = Splits(seed=0, fit=[], calibration=[], threshold=[])


def make(kind: str) -> Detector:
    """A detector of a kind, the same each time."""
    torch.manual_seed(3)
    made = _MAKERS[kind]()
    for norm in _batch_norms(made):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.uniform_(norm.bias, -0.3, 0.3)
        torch.nn.init.uniform_(norm.running_mean, -0.2, 0.2)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return made


def _batch_norms(detector: Detector) -> list[torch.nn.Module]:
    kinds = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)
    found = [m for m in detector.network().modules() if isinstance(m, kinds)]
    return found + [
        m for part in detector.parts().values() for m in part.network.modules() if isinstance(m, kinds)
    ]


def normals(detector: Detector, n: int = 12) -> PruningData:
    """Normal inputs as acquired: smooth noise of the kind that the detector takes."""
    rng = np.random.default_rng(1)
    spec = detector.input
    if spec.modality == "image":
        side = spec.shape[-1]
        coarse = rng.integers(60, 190, (2 * n, side // 8, side // 8, 3)).astype(np.uint8)
        items = list(coarse.repeat(8, 1).repeat(8, 2))
    elif spec.modality == "scan":
        items = [_scan(rng) for _ in range(2 * n)]
    else:
        rows, channels = spec.shape[2], spec.shape[1]
        items = list(np.cumsum(rng.standard_normal((2 * n, rows, channels)), 1).astype(np.float32) / 8)
    return PruningData(_inputs(items[:n]), _inputs(items[n:]))


def _inputs(items: list[np.ndarray]) -> Inputs:
    return Inputs(len(items), lambda: iter(items))


def _scan(rng: np.random.Generator) -> np.ndarray:
    azimuth, elevation = rng.uniform(-np.pi, np.pi, 3000), rng.uniform(-0.4, 0.05, 3000)
    distance = 10 + 5 * np.cos(azimuth) + rng.uniform(0, 1, 3000)
    flat = distance * np.cos(elevation)
    points = [
        flat * np.cos(azimuth),
        flat * np.sin(azimuth),
        distance * np.sin(elevation),
        rng.uniform(0, 1, 3000),
    ]
    return np.stack(points, 1).astype(np.float32)


def _efficientad() -> EfficientAd:
    return _efficient(EFFICIENTADS["micro"])


def _efficientad_ae() -> EfficientAd:
    return _efficient(EFFICIENTADS["tiny"].model_copy(update={"widths": (8, 16, 16), "channels": 16}))


def _efficient(config) -> EfficientAd:
    c = config.channels
    teacher, info = load_teacher("random-dct", config.widths, c)
    student = PDN(config.widths, c * (2 if config.autoencoder else 1)).eval()
    decoding = Decoding(config.size, c).eval() if config.autoencoder else None
    rng = np.random.default_rng(0)
    transform = OutputTransform(np.eye(c) + 0.1 * rng.standard_normal((c, c)), rng.standard_normal(c))
    quantiles = [[0.1, 0.4]] * (2 if config.autoencoder else 1)
    told = {"map_quantiles": quantiles, "autoencoder_trust": 0.8}
    return EfficientAd(config, _SPLITS, teacher, transform, student, decoding, asdict(info), told)


def _fader() -> Fader:
    config = FADERS["micro"].model_copy(update={"attenuation": "prototype", "mask": "mosaic"})
    gates = make_gates(config.widths, config.attenuated_levels, config.cell_px, config.attenuation)
    for gate in gates.values():
        torch.nn.init.normal_(gate.weigh.weight)
        torch.nn.init.zeros_(gate.weigh.bias)
        gate.prototype.uniform_(0, 1)
    inpainter = Inpainter(UNet(config.widths), gates).eval().requires_grad_(False)
    made = Fader(config, _SPLITS, inpainter, make_mask(config), Comparison(config), {"steps": 0})
    images = torch.randint(0, 256, (8, 3, config.size, config.size), dtype=torch.uint8)
    fit_comparison(made.network(), images)
    return made


def _starnet() -> StarNet:
    config = STARNETS["micro"].model_copy(update={"spsa_steps": 4})
    spec = range_image_spec(
        rows=config.rows, columns=config.columns, elevation_deg=(-25.0, 3.0), max_range_m=80.0, points_per_cell=6.0,
        rings=16,
    )  # fmt: skip
    channels = len(RANGE_CHANNELS)
    input_ = InputSpec(
        modality="scan", shape=(1, channels, config.rows, config.columns), dtype="float32", preprocess=spec
    )
    shape = input_.shape[1:]
    one = (1, channels, 1, 1)
    front = Front(
        torch.full(one, 0.1), torch.full(one, 0.5), torch.zeros(1, *shape[:-1]), torch.ones(1, *shape[:-1])
    )
    encoder, decoder = (k(shape, config.widths, config.latent).eval() for k in (Encoder, Decoder))
    told = {"variance": 0.5, "score": "neg_elbo", "inputs": {"fit": 12, "calibration": 12, "threshold": 12}}
    return StarNet(config, _SPLITS, input_, front, encoder, decoder, told)


def _series(length: int, hop: int, channels: int) -> tuple[SeriesSplits, WindowSpec]:
    window = WindowSpec(length=length, hop=hop, rate_hz=None, channels=[f"c{i}" for i in range(channels)])
    return SeriesSplits(window=window, parts=[]), window


def _tspulse() -> TsPulse:
    config = TSPULSES["micro"]
    splits, _ = _series(config.context, config.hop, 2)
    return TsPulse(config, splits, [0.0] * 2, [1.0] * 2, Scaling(config), Core(config).eval(), {"steps": 0})


def _autoencoder() -> Autoencoder:
    config = AUTOENCODERS["micro"]
    splits, window = _series(4, 1, 8)
    spec = standardise_spec([0.0] * 8, [1.0] * 8)
    input_ = InputSpec(modality="series", shape=(1, 8, 4), dtype="float32", preprocess=spec, window=window)
    body = untrained(32, config.widths, config.latent, 0).eval()
    return Autoencoder(config, splits, input_, body, {"steps": 0})


_MAKERS = {
    "autoencoder": _autoencoder,
    "efficientad": _efficientad,
    "efficientad-ae": _efficientad_ae,
    "fader": _fader,
    "starnet": _starnet,
    "tspulse": _tspulse,
}
