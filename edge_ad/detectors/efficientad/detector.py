"""A fitted EfficientAD: its model folder, its networks, its head."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from edge_ad.bundle.atomic import write_atomic
from edge_ad.bundle.manifest import DetectorInfo, HeadSpec, InputSpec
from edge_ad.data.splits import Splits
from edge_ad.detectors.base import Outputs
from edge_ad.detectors.efficientad.config import EfficientAdConfig
from edge_ad.detectors.efficientad.network import PAD_CELLS, PDN, Autoencoder
from edge_ad.detectors.efficientad.simplify import PlainNetwork, SimplifiedNetwork
from edge_ad.detectors.efficientad.statistics import OutputTransform
from edge_ad.errors import ModelError
from edge_ad.runtime.preprocess import resize_spec

NAME = "efficientad"
VERSION = 1
MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
MODEL_SCHEMA = "edge-ad/model/1"
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

    def fit_head(self, outputs: Iterable[Outputs]) -> HeadSpec:
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
        """Write the model folder; `model.json` comes last, so that a folder that has it is whole."""
        tensors: dict[str, Tensor] = {
            "transform.matrix": torch.from_numpy(np.ascontiguousarray(self.transform.matrix)),
            "transform.bias": torch.from_numpy(np.ascontiguousarray(self.transform.bias)),
        }
        for part in ("teacher", "student", "autoencoder"):
            module = getattr(self, part)
            if module is not None:
                tensors |= {f"{part}.{k}": v.contiguous() for k, v in module.state_dict().items()}
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / WEIGHTS_FILE, save(tensors))
        described = {
            "schema": MODEL_SCHEMA,
            "detector": NAME,
            "version": VERSION,
            "config": self.config.model_dump(mode="json"),
            "teacher": self.teacher_info,
            "fit": self.fit_info,
            "splits": self.splits.model_dump(mode="json"),
        }
        write_atomic(folder / MODEL_FILE, (json.dumps(described, indent=1, sort_keys=True) + "\n").encode())

    @classmethod
    def load(cls, folder: Path, described: dict[str, Any]) -> EfficientAd:
        """Read a model folder whose `model.json` holds `described`. Raises ModelError."""
        again = "fit it again with this version"
        if described.get("version") != VERSION:
            found = described.get("version")
            raise ModelError(
                f"was made by another version of efficientad ({found}, not {VERSION})",
                where=folder,
                hint=again,
            )
        try:
            config = EfficientAdConfig.model_validate(described["config"])
            splits = Splits.model_validate(described["splits"])
            tensors = load_file(folder / WEIGHTS_FILE)
            teacher = PDN(config.widths, config.channels)
            student = PDN(config.widths, config.channels * (2 if config.autoencoder else 1))
            autoencoder = Autoencoder(config.size, config.channels) if config.autoencoder else None
            for part, module in (("teacher", teacher), ("student", student), ("autoencoder", autoencoder)):
                if module is not None:
                    cut = len(part) + 1
                    module.load_state_dict(
                        {k[cut:]: v for k, v in tensors.items() if k.startswith(f"{part}.")}
                    )
            transform = OutputTransform(
                tensors["transform.matrix"].numpy(), tensors["transform.bias"].numpy()
            )
        except (KeyError, ValidationError, SafetensorError, OSError, RuntimeError) as error:
            cause = str(error).splitlines()[0]
            raise ModelError(f"the model cannot be loaded ({cause})", where=folder, hint=again) from error
        return cls(
            config,
            splits,
            teacher.eval(),
            transform,
            student.eval(),
            None if autoencoder is None else autoencoder.eval(),
            described["teacher"],
            described["fit"],
        )
