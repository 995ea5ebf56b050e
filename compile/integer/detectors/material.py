"""What a detector's lowering works on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from edge_ad.compile import litert, litert_stages
from edge_ad.compile.capture import Captured
from edge_ad.compile.integer.kept import Layers, kept_layers
from edge_ad.compile.integer.quantized import Quantized
from edge_ad.compile.layers import MAIN, Layer, layers_of
from edge_ad.compile.target import Calibration
from edge_ad.detectors.base import Detector, Staged
from edge_ad.runtime.engines.base import Tensor


@dataclass(frozen=True)
class Material:
    """A captured detector with normal inputs to calibrate with. target: whom errors speak for. keep: layers of the core
    that are to be in 16 bits."""

    captured: Captured
    calibration: Calibration
    target: str
    keep: tuple[Layer, ...] = ()

    @property
    def detector(self) -> Detector:
        assert self.captured.detector is not None
        return self.captured.detector

    @cached_property
    def staged(self) -> Staged:
        """The simplified network's stages; the middle one is the core."""
        return litert_stages.stages_of(self.captured, self.target)

    @cached_property
    def core(self) -> Quantized:
        """The middle stage in INT8: the very file that target `litert` runs."""
        content = litert_stages.core(self.captured, self.staged, self.calibration)
        return Quantized.of(content, where="the network's INT8 form")

    @cached_property
    def kept(self) -> Layers:
        """The layers `keep`, by the numbers of their nodes in the core. Raises TargetError for one that cannot be."""
        if not self.keep:
            return {}
        content = litert_stages.core(self.captured, self.staged, None)
        return kept_layers(content, self.core.graph, layers_of(self.captured), self.keep, MAIN, self.target)

    @property
    def by_litert(self) -> bool:
        """Whether a lowering has asked for `core`."""
        return "core" in self.__dict__

    def part(self, name: str) -> Quantized:
        """A further network of the head in INT8, likewise."""
        content = litert_stages.part(self.captured, name, self.calibration)
        return Quantized.of(content, where=f"the INT8 form of '{name}'")

    @torch.no_grad()
    def quantized(
        self, network: nn.Module, examples: Sequence[torch.Tensor], feeds: Iterable[Sequence[Tensor]], *,
        what: str, pixels: bool = False,
    ) -> Quantized:  # fmt: skip
        """Any other piece of a network in INT8, for detectors that are cut otherwise. feeds: calibration inputs of it,
        each a float tensor per input in order."""
        content = litert.convert(network, examples, what=what)
        ranges = litert.calibrated(content, feeds, pixels=pixels)
        return Quantized.of(litert.quantize(content, ranges), where=f"the INT8 form of {what}")
