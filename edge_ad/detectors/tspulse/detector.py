"""A fitted TSPulse: its model folder, its network, its head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from edge_ad.bundle.manifest import DetectorInfo, HeadSpec, InputSpec, Threshold
from edge_ad.data.series_splits import SeriesSplits
from edge_ad.detectors.base import Outputs, Part, Staged
from edge_ad.detectors.model_folder import (
    LOAD_ERRORS,
    check_version,
    damaged,
    load_modules,
    module_tensors,
    read_tensors,
    write_model,
)
from edge_ad.detectors.tspulse.agreement import check_agreement
from edge_ad.detectors.tspulse.config import PRESETS, TsPulseConfig
from edge_ad.detectors.tspulse.head import fit_error_streams
from edge_ad.detectors.tspulse.network import Core
from edge_ad.detectors.tspulse.scaling import Scaling
from edge_ad.detectors.tspulse.stages import STREAMS, PlainNetwork, scoring_network
from edge_ad.detectors.widths import check_joined, is_pruned, take_widths
from edge_ad.runtime.engines.base import Engine
from edge_ad.runtime.series.standardise import standardise_spec

NAME = "tspulse"
VERSION = 1


@dataclass
class TsPulse:
    """The detector contract for TSPulse. mean, std: of each channel in the data of the fit."""

    name: ClassVar[str] = NAME
    outputs: ClassVar[tuple[str, ...]] = ("errors",)

    config: TsPulseConfig
    splits: SeriesSplits
    mean: list[float]
    std: list[float]
    scaling: Scaling
    core: Core
    fit_info: dict[str, Any] = field(default_factory=dict)

    @property
    def input(self) -> InputSpec:
        return InputSpec(
            modality="series",
            shape=(1, len(self.mean), self.config.context),
            dtype="float32",
            preprocess=standardise_spec(self.mean, self.std),
            window=self.splits.window,
        )

    def network(self) -> PlainNetwork:
        """The network as published, masked in its newest patch, in evaluation mode."""
        return PlainNetwork(self.config, self.scaling, self.core).eval()

    def simplified(self) -> Staged:
        """The same errors, without what the newest patch does not need; only the core is to be quantized."""
        return scoring_network(self.scaling, self.core).eval()

    def parts(self) -> Mapping[str, Part]:
        """None: the head calls no further network."""
        return {}

    def fit_head(self, outputs: Iterable[Outputs], parts: Mapping[str, Engine]) -> HeadSpec:
        """Scales of the error streams of one compiled form (see `head`). Raises ModelError without any output."""
        return fit_error_streams([o["errors"] for o in outputs])

    def finish_head(self, head: HeadSpec, threshold: Threshold) -> HeadSpec:
        """As it is."""
        return head

    def decisions(self) -> list[tuple[str, str]]:
        config, constant = self.config, self.fit_info.get("constant_channels", [])
        found = [
            (
                "simplify",
                f"One forward a hop of {config.hop} rows: the newest patch is hidden and reconstructed from the "
                f"{config.context - config.patch} rows before it; its errors ({', '.join(STREAMS)}) are the outputs.",
            ),
            (
                "quantize",
                "Masking, window statistics, Fourier matrices and errors stay in float32; embeddings, mixers and "
                "heads are quantized.",
            ),
        ]
        if constant:
            found.append(
                ("fit", f"Channels that never change in the data of the fit: {', '.join(constant)}.")
            )
        return found

    def info(self) -> DetectorInfo:
        return DetectorInfo(
            name=NAME,
            preset=self.config.preset,
            version=VERSION,
            config=self.config.model_dump(mode="json"),
            fit=self.fit_info,
        )

    def unfitted(self, preset: str) -> TsPulse:
        """A detector for the same channels with another preset's shape and weights that learnt nothing."""
        config = PRESETS[preset]
        window = self.splits.window.model_copy(update={"length": config.context, "hop": config.hop})
        splits = self.splits.model_copy(update={"window": window})
        return TsPulse(config, splits, self.mean, self.std, Scaling(config), Core(config))

    def save(self, folder: Path) -> None:
        """Write the model folder, whole or not at all."""
        write_model(
            folder, NAME, VERSION, self.config, self.splits, self.fit_info,
            module_tensors(scaling=self.scaling, core=self.core), mean=self.mean, std=self.std,
        )  # fmt: skip

    @classmethod
    def load(cls, folder: Path, described: dict[str, Any]) -> TsPulse:
        """Read a model folder whose `model.json` holds `described`. Raises ModelError."""
        check_version(described, NAME, VERSION, folder)
        try:
            config = TsPulseConfig.model_validate(described["config"])
            splits = SeriesSplits.model_validate(described["splits"])
            mean, std = ([float(v) for v in described[key]] for key in ("mean", "std"))
            if not len(mean) == len(std) == len(splits.window.channels) or not np.isfinite([mean, std]).all():
                raise ValueError("statistics do not fit the channels")
            scaling, core = Scaling(config), Core(config)
            tensors = read_tensors(folder)
            if is_pruned(described["fit"]):
                take_widths(tensors, core=core)
            load_modules(tensors, scaling=scaling, core=core)
            found = cls(config, splits, mean, std, scaling, core, described["fit"])
            if is_pruned(described["fit"]):
                check_agreement(core)
                check_joined(found.network(), found.input.shape, torch.float32)
            return found
        except LOAD_ERRORS as error:
            raise damaged(error, folder) from error
