"""Detectors: network, fit, score head. Host only."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from edge_ad.detectors.base import Detector
from edge_ad.errors import ModelError

# By the name that stands in a model folder: module and class, imported when a model asks for it.
DETECTORS = {
    "autoencoder": ("edge_ad.detectors.autoencoder.detector", "Autoencoder"),
    "efficientad": ("edge_ad.detectors.efficientad.detector", "EfficientAd"),
    "fader": ("edge_ad.detectors.fader.detector", "Fader"),
    "starnet": ("edge_ad.detectors.starnet.detector", "StarNet"),
    "tspulse": ("edge_ad.detectors.tspulse.detector", "TsPulse"),
    "imported": ("edge_ad.detectors.imported.detector", "Imported"),
}


def load_detector(folder: Path) -> Detector:
    """Load the model folder that `fit` wrote. Raises ModelError, also for a fit that has not finished."""
    from edge_ad.detectors.model_folder import read_description

    described = read_description(folder)
    name = described.get("detector")
    if name not in DETECTORS:
        raise ModelError(f"holds an unknown detector {str(name)[:40]!r}", where=folder)
    module, kind = DETECTORS[name]
    detector: Detector = getattr(import_module(module), kind).load(folder, described)
    return detector
