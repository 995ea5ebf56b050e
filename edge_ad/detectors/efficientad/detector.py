"""A fitted EfficientAD: its model folder, its networks, its head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from edge_ad.bundle.manifest import DetectorInfo, HeadSpec, InputSpec, Threshold
from edge_ad.data.splits import Splits
from edge_ad.detectors.base import Outputs, Part
from edge_ad.detectors.efficientad.config import PRESETS, EfficientAdConfig
from edge_ad.detectors.efficientad.network import PAD_CELLS, PDN, Autoencoder
from edge_ad.detectors.efficientad.simplify import PlainNetwork, SimplifiedNetwork
from edge_ad.detectors.efficientad.statistics import OutputTransform
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

NAME = "efficientad"
VERSION = 1
QUANTILES = (0.9, 0.995)  # q_a and q_b of Algorithm 1


@dataclass
class EfficientAd:
    """The detector contract for EfficientAD. teacher: PDN as loaded; transform: its output statistics."""

    name: ClassVar[str] = NAME

    config: EfficientAdConfig
    splits: Splits
    teacher: PDN
    transform: OutputTransform
    student: PDN
    autoencoder: Autoencoder | None
    teacher_info: dict[str, Any]
    fit_info: dict[str, Any] = field(default_factory=dict)

    outputs: ClassVar[tuple[str, ...]] = ("maps",)

    @property
    def input(self) -> InputSpec:
        size = self.config.size
        return InputSpec(
            modality="image", shape=(1, 3, size, size), dtype="uint8", preprocess=resize_spec(size, size)
        )

    def network(self) -> PlainNetwork:
        """The network as published, in evaluation mode."""
        return PlainNetwork(self.teacher, self.transform, self.student, self.autoencoder).eval()

    def simplified(self) -> SimplifiedNetwork:
        """The same maps, folded (see `simplify`)."""
        return SimplifiedNetwork(self.network()).eval()

    def parts(self) -> Mapping[str, Part]:
        """None."""
        return {}

    def fit_head(self, outputs: Iterable[Outputs], parts: Mapping[str, Engine]) -> HeadSpec:
        """Map quantiles of one compiled form, merged into one affine sum of its maps.

        Each map M becomes 0.1 (M - q_a) / (q_b - q_a), with q_a, q_b its 0.9 and 0.995 quantiles over all
        pixels of the calibration images; the maps are then averaged (arXiv 2303.14535, Algorithms 1 and 2).
        The autoencoder's map has the paper's weight of 0.5 times `autoencoder_trust` of the fit, which is near 1
        only after a long one; the other map has the rest. Raises ModelError when a map is constant.
        """
        maps = np.concatenate([o["maps"] for o in outputs]).astype(np.float64)
        count = maps.shape[1]
        quantiles = np.quantile(maps.transpose(1, 0, 2, 3).reshape(count, -1), QUANTILES, axis=1).T
        spread = quantiles[:, 1] - quantiles[:, 0]
        if not (spread > 0).all():
            raise ModelError(
                "an anomaly map is constant on the calibration images",
                hint="fit longer, or check that the images differ",
            )
        share = 0.5 * float(self.fit_info.get("autoencoder_trust", 1.0))
        gain = 0.1 / spread * ([1.0] if count == 1 else [1 - share, share])
        return HeadSpec(
            name="map-max",
            params={
                "output": "maps",
                "gain": gain.tolist(),
                "offset": float(-(gain * quantiles[:, 0]).sum()),
                "pad": PAD_CELLS,
                "quantiles": quantiles.tolist(),
            },
        )

    def finish_head(self, head: HeadSpec, threshold: Threshold) -> HeadSpec:
        """As it is."""
        return head

    def unfitted(self, preset: str) -> EfficientAd:
        """Another preset with weights that learnt nothing."""
        config = PRESETS[preset]
        teacher = PDN(config.widths, config.channels)
        student = PDN(config.widths, config.channels * (2 if config.autoencoder else 1))
        autoencoder = Autoencoder(config.size, config.channels) if config.autoencoder else None
        transform = OutputTransform(np.eye(config.channels), np.zeros(config.channels))
        return EfficientAd(config, self.splits, teacher, transform, student, autoencoder, self.teacher_info)

    def decisions(self) -> list[tuple[str, str]]:
        return [
            (
                "simplify",
                "Input normalisation and teacher statistics folded into weights; differences are taken inside one "
                "convolution, so that no feature is rounded before it is subtracted.",
            ),
            (
                "calibrate",
                "Map quantiles were taken anew from the compiled network's own maps of the calibration images.",
            ),
        ]

    def info(self) -> DetectorInfo:
        return DetectorInfo(
            name=NAME,
            preset=self.config.preset,
            version=VERSION,
            config=self.config.model_dump(mode="json"),
            teacher=self.teacher_info,
            fit=self.fit_info,
        )

    def save(self, folder: Path) -> None:
        """Write the model folder."""
        tensors = {
            "transform.matrix": torch.from_numpy(self.transform.matrix),
            "transform.bias": torch.from_numpy(self.transform.bias),
            **module_tensors(teacher=self.teacher, student=self.student, autoencoder=self.autoencoder),
        }
        write_model(
            folder, NAME, VERSION, self.config, self.splits, self.fit_info, tensors, teacher=self.teacher_info
        )

    @classmethod
    def load(cls, folder: Path, described: dict[str, Any]) -> EfficientAd:
        """Read a model folder whose `model.json` holds `described`. Raises ModelError."""
        check_version(described, NAME, VERSION, folder)
        try:
            config = EfficientAdConfig.model_validate(described["config"])
            splits = Splits.model_validate(described["splits"])
            tensors = read_tensors(folder)
            teacher = PDN(config.widths, config.channels)
            student = PDN(config.widths, config.channels * (2 if config.autoencoder else 1))
            autoencoder = Autoencoder(config.size, config.channels) if config.autoencoder else None
            parts = {"teacher": teacher, "student": student, "autoencoder": autoencoder}
            if is_pruned(described["fit"]):
                take_widths(tensors, **parts)
            load_modules(tensors, **parts)
            transform = OutputTransform(
                tensors["transform.matrix"].numpy(), tensors["transform.bias"].numpy()
            )
            found = cls(
                config, splits, teacher, transform, student, autoencoder, described["teacher"], described["fit"]
            )  # fmt: skip
            if is_pruned(described["fit"]):
                check_joined(found.network(), found.input.shape, torch.uint8)
            return found
        except LOAD_ERRORS as error:
            raise damaged(error, folder) from error
