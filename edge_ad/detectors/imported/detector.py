"""A network that was fitted elsewhere, as a detector: compiled, calibrated and run like the others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import torch
from pydantic import BaseModel
from torch import nn

from edge_ad.bundle.manifest import DetectorInfo, HeadSpec, InputSpec, Threshold
from edge_ad.bundle.names import shown
from edge_ad.data.series_splits import SeriesSplits
from edge_ad.data.splits import Splits
from edge_ad.detectors.base import OnnxStages, Outputs, Part
from edge_ad.detectors.imported.config import CHANNELS_LAST, HEADS, ImportConfig
from edge_ad.detectors.imported.graphs import opset_of
from edge_ad.detectors.imported.reading import first_line, session
from edge_ad.detectors.imported.stages import (
    GREY,
    OUTPUT,
    core_names,
    make_core,
    make_front,
    make_tail,
    map_size,
    mean_axes,
)
from edge_ad.detectors.model_folder import LOAD_ERRORS, check_version, damaged, write_model
from edge_ad.errors import ModelError
from edge_ad.runtime.engines.base import Engine

NAME = "imported"
VERSION = 1
NETWORK_FILE = "network.onnx"


@dataclass
class Imported:
    """The detector contract for a network that came as ONNX. model: the network as it came, shapes fixed."""

    name: ClassVar[str] = NAME
    outputs: ClassVar[tuple[str, ...]] = (OUTPUT,)

    config: ImportConfig
    splits: BaseModel
    model: onnx.ModelProto

    @property
    def input(self) -> InputSpec:
        return self.config.input

    def network(self) -> nn.Module:
        """The network as it came, run by ONNX Runtime; what is around it in NumPy: nothing of what is compiled."""
        return _Reference(self.model, self.config).eval()

    def simplified(self) -> nn.Module:
        """As `network`; targets take `onnx_stages`."""
        return self.network()

    def onnx_stages(self) -> OnnxStages:
        """Input, network and map as ONNX, all of the network's own opset."""
        core = make_core(self.model, self.config)
        front, tail = make_front(self.config, opset_of(core)), make_tail(core, self.config)
        names = core_names(self.model, self.config)
        exact = tuple(names[name] for name in self.config.exact_from)
        return OnnxStages(
            front.SerializeToString(), core.SerializeToString(), tail.SerializeToString(), exact
        )

    def parts(self) -> Mapping[str, Part]:
        """None."""
        return {}

    def fit_head(self, outputs: Iterable[Outputs], parts: Mapping[str, Engine]) -> HeadSpec:
        """The largest value of the map; nothing is fitted."""
        return HeadSpec(name="map-max", params={"output": OUTPUT, "gain": [1.0], "offset": 0.0, "pad": 0})

    def finish_head(self, head: HeadSpec, threshold: Threshold) -> HeadSpec:
        """As it is."""
        return head

    def decisions(self) -> list[tuple[str, str]]:
        config = self.config
        where = f", and from {_listed(config.exact_from)} on" if config.exact_from else ""
        return [
            (
                "import",
                f"The network came as ONNX, {config.name}.onnx of sha256 {config.file_sha256} (opset {config.opset}).",
            ),
            ("import", f"Score '{config.head}': {HEADS[config.head]} ({_listed(config.outputs)})."),
            (
                "import",
                f"What follows the last convolution, matrix product or recurrent layer{where}, stays in float32: it "
                "makes the score.",
            ),
            (
                "calibrate",
                "Nobody here knows which inputs the network was fitted on: the false-alarm rate holds if the normal "
                "inputs given to the import were not among them.",
            ),
        ]

    def info(self) -> DetectorInfo:
        return DetectorInfo(
            name=NAME, preset=self.config.name, version=VERSION,
            config=self.config.model_dump(mode="json", exclude={"input"}),
        )  # fmt: skip

    def save(self, folder: Path) -> None:
        """Write the model folder."""
        write_model(
            folder, NAME, VERSION, self.config, self.splits, {}, {},
            files={NETWORK_FILE: self.model.SerializeToString(deterministic=True)},
        )  # fmt: skip

    @classmethod
    def load(cls, folder: Path, described: dict[str, Any]) -> Imported:
        """Read a model folder whose `model.json` holds `described`. Raises ModelError."""
        check_version(described, NAME, VERSION, folder)
        try:
            config = ImportConfig.model_validate(described["config"])
            kind = SeriesSplits if config.input.modality == "series" else Splits
            splits = kind.model_validate(described["splits"])
            raw = (folder / NETWORK_FILE).read_bytes()
            if hashlib.sha256(raw).hexdigest() != config.sha256:
                raise ModelError(f"{NETWORK_FILE} is not the network that was imported", where=folder)
            return cls(config, splits, onnx.load_from_string(raw))
        except LOAD_ERRORS as error:
            raise damaged(error, folder) from error


def _listed(names: list[str]) -> str:
    return ", ".join(shown(name) for name in names)


class _Reference(nn.Module):
    """(1, 3, h, w) uint8 or (1, C, L) float32 to the map (1, 1, h, w), by the network as it came."""

    def __init__(self, model: onnx.ModelProto, config: ImportConfig):
        super().__init__()
        self._session = session(model, plain=True)
        self._config = config

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        config = self._config
        values = x.numpy().astype(np.float64)
        if config.input.modality == "image" and len(config.gain) == 1:
            values = np.tensordot(np.array(GREY), values, axes=(0, 1))[None]
        elif config.bgr:
            values = values[:, ::-1]
        ones = (-1,) + (1,) * (values.ndim - 2)
        values = values * np.array(config.gain).reshape(ones) + np.array(config.offset).reshape(ones)
        if config.layout in CHANNELS_LAST:
            values = np.moveaxis(values, 1, -1)
        given = np.ascontiguousarray(values.reshape(config.shape), np.float32)
        try:
            found = self._session.run(list(config.outputs), {config.network_input: given})
        except Exception as error:  # as above
            raise ModelError(f"the network cannot be run ({first_line(error)})") from error
        made = found[0]
        if config.head in ("mse", "channel-mse"):
            other = found[1] if len(found) == 2 else given
            difference = made.astype(np.float64) - other
            made = (difference**2).mean(axis=tuple(mean_axes(config, made.ndim)), keepdims=True)
        size = map_size(config, list(found[0].shape))
        return torch.from_numpy(np.ascontiguousarray(made.reshape(1, 1, *size), np.float32))
