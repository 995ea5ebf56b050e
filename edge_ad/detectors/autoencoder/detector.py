"""A fitted autoencoder: its model folder, its network, its head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from edge_ad.bundle.manifest import DetectorInfo, HeadSpec, InputSpec, Threshold
from edge_ad.data.inputs import find_normals
from edge_ad.data.series_splits import SeriesSplits
from edge_ad.detectors.autoencoder.config import PRESETS, AutoencoderConfig
from edge_ad.detectors.autoencoder.network import Body, Front, Tail, folded, untrained
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
from edge_ad.detectors.widths import check_joined, is_pruned, take_widths
from edge_ad.runtime.engines.base import Engine
from edge_ad.runtime.series.log_mel import LogMelFront, log_mel_front

NAME = "autoencoder"
VERSION = 1


@dataclass
class Autoencoder:
    """The detector contract for the autoencoder. input: windows (1, C, rows) float32, standardised."""

    name: ClassVar[str] = NAME
    outputs: ClassVar[tuple[str, ...]] = ("reconstruction", "errors")

    config: AutoencoderConfig
    splits: SeriesSplits
    input: InputSpec
    body: Body
    fit_info: dict[str, Any] = field(default_factory=dict)

    def network(self) -> nn.Module:
        """A window to its reconstruction (1, C * rows) and each channel's mean squared error (1, C)."""
        return self._staged(self.body)

    def simplified(self) -> Staged:
        """The same with BatchNorm folded away; the comparison stays unquantized."""
        return self._staged(folded(self.body))

    def _staged(self, core: nn.Module) -> Staged:
        return Staged(Front(), core, Tail(self.input.shape[1])).eval()

    def parts(self) -> Mapping[str, Part]:
        return {}

    def fit_head(self, outputs: Iterable[Outputs], parts: Mapping[str, Engine]) -> HeadSpec:
        """The mean squared error of all values: nothing to fit."""
        return HeadSpec(name="mean-error", params={"output": "errors"})

    def finish_head(self, head: HeadSpec, threshold: Threshold) -> HeadSpec:
        return head

    def decisions(self) -> list[tuple[str, str]]:
        count = sum(isinstance(layer, nn.BatchNorm1d) for layer in self.body.layers)
        front = log_mel_front(self.input.preprocess)
        return [
            *([] if front is None else [("preprocess", _words(front))]),
            (
                "simplify",
                f"{count} BatchNorm layers were folded into the layers before them, which is exact.",
            ),
            (
                "score",
                "The score is the mean squared error of the reconstruction, in standard deviations squared.",
            ),
        ]

    def info(self) -> DetectorInfo:
        return DetectorInfo(
            name=NAME, preset=self.config.preset, version=VERSION, config=self.config.model_dump(mode="json"),
            fit=self.fit_info,
        )  # fmt: skip

    def unfitted(self, preset: str) -> Autoencoder:
        """A detector for the same input with another preset's shape and weights that learnt nothing."""
        config = PRESETS[preset].model_copy(
            update={"window": self.config.window, "features": self.config.features}
        )
        width = self.input.shape[1] * self.input.shape[2]
        body = untrained(width, config.widths, config.latent, config.seed)
        return Autoencoder(config, self.splits, self.input, body)

    def held_back(self, data: Path) -> int:
        """How many normal inputs of `data` are kept for the threshold."""
        return len(find_normals(self.splits, data, self.input).threshold)

    def save(self, folder: Path) -> None:
        write_model(
            folder, NAME, VERSION, self.config, self.splits, self.fit_info, module_tensors(body=self.body),
            input=self.input.model_dump(mode="json"),
        )  # fmt: skip

    @classmethod
    def load(cls, folder: Path, described: dict[str, Any]) -> Autoencoder:
        """Read a model folder whose `model.json` holds `described`. Raises ModelError."""
        check_version(described, NAME, VERSION, folder)
        try:
            config = AutoencoderConfig.model_validate(described["config"])
            spec = InputSpec.model_validate(described["input"])
            splits = SeriesSplits.model_validate(described["splits"])
            body = Body(spec.shape[1] * spec.shape[2], config.widths, config.latent)
            tensors = read_tensors(folder)
            if is_pruned(described["fit"]):
                take_widths(tensors, body=body)
            load_modules(tensors, body=body)
            found = cls(config, splits, spec, body, described["fit"])
            if is_pruned(described["fit"]):
                check_joined(found.network(), spec.shape, torch.float32)
            return found
        except LOAD_ERRORS as error:
            raise damaged(error, folder) from error


def _words(front: LogMelFront) -> str:
    """What the features are of, for the report."""
    f = front.features
    return (
        f"Log-mel features in integers, the same on every target: {f.frames} frames of {f.frame} samples, {f.hop} "
        f"apart, {f.bands} bands from {f.low_hz:g} to {f.high_hz:g} Hz."
    )
