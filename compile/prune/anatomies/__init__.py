"""How each detector is pruned. One module a detector; `_MODULES` has its name."""

from __future__ import annotations

from importlib import import_module

from torch import Tensor

from edge_ad.compile.prune.anatomy import Anatomy
from edge_ad.detectors.base import Detector
from edge_ad.errors import ModelError

_MODULES = {
    name: f"edge_ad.compile.prune.anatomies.{name}"
    for name in ("autoencoder", "efficientad", "fader", "starnet", "tspulse")
}


def anatomy_of(detector: Detector, normal: Tensor, changed: Tensor, calibration: Tensor) -> Anatomy:
    """How `detector` is pruned. normal, changed: inputs of the fit split (n, …) and altered copies of them.

    Raises ModelError for a detector that cannot be.
    """
    name = detector.info().name
    if name not in _MODULES:
        raise ModelError(
            f"the detector '{name}' cannot be pruned here",
            hint=f"these can: {', '.join(_MODULES)}; prune an imported network where it was made",
        )
    found: Anatomy = import_module(_MODULES[name]).anatomy(detector, normal, changed, calibration)
    return found
