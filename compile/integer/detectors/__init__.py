"""Fitted detectors on boards: how each is lowered to a `BoardForm`. One module a detector; `_MODULES` has its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from edge_ad.compile.integer.detectors.form import BoardForm
from edge_ad.compile.integer.detectors.material import Material
from edge_ad.detectors.base import Detector
from edge_ad.errors import TargetError

_MODULES = {
    "autoencoder": "edge_ad.compile.integer.detectors.autoencoder",
    "starnet": "edge_ad.compile.integer.detectors.starnet",
    "tspulse": "edge_ad.compile.integer.detectors.tspulse.lowering",
    "efficientad": "edge_ad.compile.integer.detectors.efficientad",
    "fader": "edge_ad.compile.integer.detectors.fader",
}


@dataclass(frozen=True)
class BoardDetector:
    """lower: to a form without its head. presets: from the largest to the smallest. unfitted: a detector for the same
    input with another preset and any weights, by which is told whether that one would fit. settled: why none of its
    layers can be kept in 16 bits by name, of those whose kernels settle how many each has; empty of others."""

    lower: Callable[[Material], BoardForm]
    presets: tuple[str, ...] = ()
    unfitted: Callable[[Detector, str], Detector] | None = None
    settled: str = ""


def board_detector(detector: Detector, target: str) -> BoardDetector:
    """How `detector` gets onto a board: `BOARD` of its module. Raises TargetError for one that no board takes yet."""
    name = detector.info().name
    if name not in _MODULES:
        raise TargetError(
            f"the detector '{name}' has no integer form yet",
            where=target,
            hint=f"boards take: {', '.join(_MODULES)}; and full-INT8 .tflite files",
        )
    found: BoardDetector = import_module(_MODULES[name]).BOARD
    return found
