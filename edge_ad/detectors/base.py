"""The detector contract: what `fit` makes and `compile` takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from edge_ad.bundle.manifest import DetectorInfo, HeadSpec, InputSpec
from edge_ad.data.splits import Splits

Outputs = Mapping[str, npt.NDArray[np.generic]]


class Detector(Protocol):
    """A fitted detector: a network (compiled, quantized) and the recipe of its score head (kept exact)."""

    @property
    def input(self) -> InputSpec:
        """Modality, static shape, dtype and preprocessing."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the network's outputs, in order."""
        ...

    @property
    def splits(self) -> Splits:
        """The normal inputs that were set aside."""
        ...

    def network(self) -> nn.Module:
        """The network as published: input as in `input` (uint8 tensor), one tensor per name in `outputs`."""
        ...

    def simplified(self) -> nn.Module:
        """The same function in its cheapest exact form, fit to be quantized; same input and outputs."""
        ...

    def fit_head(self, outputs: Iterable[Outputs]) -> HeadSpec:
        """The score head for one compiled form, from that form's outputs on the calibration split."""
        ...

    def info(self) -> DetectorInfo:
        """What stands in a bundle's manifest."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model folder (JSON and safetensors), whole or not at all."""
        ...
