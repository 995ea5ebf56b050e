"""A fitted FADeR: its model folder, its networks, its head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from edge_ad.bundle.manifest import DetectorInfo, HeadSpec, InputSpec, Threshold
from edge_ad.data.splits import Splits
from edge_ad.detectors.base import Outputs, Part, Staged
from edge_ad.detectors.fader.comparison import Comparison
from edge_ad.detectors.fader.config import PRESETS, FaderConfig
from edge_ad.detectors.fader.forms import PlainNetwork, staged
from edge_ad.detectors.fader.masks import Mask, make_mask
from edge_ad.detectors.fader.network import Inpainter, UNet, make_gates
from edge_ad.detectors.model_folder import (
    LOAD_ERRORS,
    check_version,
    damaged,
    load_modules,
    module_tensors,
    read_tensors,
    write_model,
)
from edge_ad.detectors.widths import check_joined, is_pruned, take_widths
from edge_ad.errors import ModelError
from edge_ad.runtime.engines.base import Engine
from edge_ad.runtime.preprocess import resize_spec

NAME = "fader"
VERSION = 1


@dataclass
class Fader:
    """The detector contract for FADeR. inpainter: U-Net and gates; mask: what is hidden from it, fitted;
    comparison: of image and reconstruction, fitted."""

    name: ClassVar[str] = NAME
    outputs: ClassVar[tuple[str, ...]] = ("maps",)

    config: FaderConfig
    splits: Splits
    inpainter: Inpainter
    mask: Mask
    comparison: Comparison
    fit_info: dict[str, Any] = field(default_factory=dict)

    @property
    def input(self) -> InputSpec:
        size = self.config.size
        return InputSpec(
            modality="image", shape=(1, 3, size, size), dtype="uint8", preprocess=resize_spec(size, size)
        )

    def network(self) -> PlainNetwork:
        """The network as published, in evaluation mode."""
        return PlainNetwork(self.config, self.inpainter, self.mask, self.comparison).eval()

    def simplified(self) -> Staged:
        """The same map, staged (see `forms`)."""
        return staged(self.network())

    def parts(self) -> Mapping[str, Part]:
        """None."""
        return {}

    def fit_head(self, outputs: Iterable[Outputs], parts: Mapping[str, Engine]) -> HeadSpec:
        """The map's maximum in units of what a good part scores: the median over the calibration images is 1.

        Raises ModelError when the map is zero on most of them.
        """
        median = float(np.median([float(o["maps"].max()) for o in outputs]))
        if not median > 0:
            raise ModelError(
                "the anomaly map is zero on the calibration images",
                hint="check that the images are not blank, or fit longer",
            )
        return HeadSpec(
            name="map-max",
            params={"output": "maps", "gain": [1 / median], "offset": 0.0, "pad": 0, "median": median},
        )

    def finish_head(self, head: HeadSpec, threshold: Threshold) -> HeadSpec:
        """As it is."""
        return head

    def unfitted(self, preset: str) -> Fader:
        """Another preset with weights that learnt nothing; masked and compared in the same way."""
        kept = ("mask", "attenuation", "attenuated_levels", "compare", "standardise")
        config = PRESETS[preset].model_copy(update={name: getattr(self.config, name) for name in kept})
        gates = make_gates(config.widths, config.attenuated_levels, config.cell_px, config.attenuation)
        inpainter = Inpainter(UNet(config.widths), gates).eval()
        return Fader(config, self.splits, inpainter, make_mask(config), Comparison(config))

    def decisions(self) -> list[tuple[str, str]]:
        """What was decided, (stage, sentence), for the report."""
        told = [
            (
                "simplify",
                "Batch norms and pixel scaling folded into convolutions; mask and mosaic before the U-Net and the "
                "comparison behind it are computed in float32 and not quantized.",
            ),
            (
                "calibrate",
                "The score's unit was taken anew from this compiled form's maps of the calibration images.",
            ),
        ]
        identity = self.fit_info.get("identity")
        if identity is not None:
            told.append(("fit", _identity_sentence(identity)))
        return told

    def info(self) -> DetectorInfo:
        return DetectorInfo(
            name=NAME,
            preset=self.config.preset,
            version=VERSION,
            config=self.config.model_dump(mode="json"),
            fit=self.fit_info,
        )

    def save(self, folder: Path) -> None:
        """Write the model folder."""
        tensors = module_tensors(
            unet=self.inpainter.unet, gates=self.inpainter.gates, mask=self.mask, comparison=self.comparison
        )
        write_model(folder, NAME, VERSION, self.config, self.splits, self.fit_info, tensors)

    @classmethod
    def load(cls, folder: Path, described: dict[str, Any]) -> Fader:
        """Read a model folder whose `model.json` holds `described`. Raises ModelError."""
        check_version(described, NAME, VERSION, folder)
        try:
            config = FaderConfig.model_validate(described["config"])
            splits = Splits.model_validate(described["splits"])
            gates = make_gates(config.widths, config.attenuated_levels, config.cell_px, config.attenuation)
            inpainter, mask = Inpainter(UNet(config.widths), gates), make_mask(config)
            comparison = Comparison(config)
            tensors = read_tensors(folder)
            if is_pruned(described["fit"]):
                take_widths(tensors, unet=inpainter.unet, gates=inpainter.gates)
            load_modules(
                tensors, unet=inpainter.unet, gates=inpainter.gates, mask=mask, comparison=comparison
            )
            found = cls(config, splits, inpainter.eval(), mask, comparison, described["fit"])
            if is_pruned(described["fit"]):
                check_joined(found.network(), found.input.shape, torch.uint8)
            return found
        except LOAD_ERRORS as error:
            raise damaged(error, folder) from error


def _identity_sentence(identity: Mapping[str, Any]) -> str:
    verdict = "holds" if identity["holds"] else "does not hold: the attenuation costs good parts accuracy"
    return (
        f"On good parts the attenuation lets {identity['mean_factor']:.1%} through and changes the reconstruction's "
        f"error by {identity['error_change']:+.2%}; that it leaves them alone (95 %, 1 %) {verdict}."
    )
