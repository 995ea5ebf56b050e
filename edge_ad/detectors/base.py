"""The detector contract: what `fit` makes and `compile` takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel
from torch import Tensor, nn

from edge_ad.bundle.manifest import DetectorInfo, HeadSpec, InputSpec, Threshold
from edge_ad.runtime.engines.base import Engine

Outputs = Mapping[str, npt.NDArray[np.generic]]


class Staged(nn.Module):
    """A network of which only the middle is quantized.

    front: the input to a tensor or a tuple of them; the first `core_inputs` go to the core, the others past it.
    core: quantized; gives a tensor or a tuple. tail: takes the core's outputs, then what went past it, and gives the
    network's outputs; None when these are the core's. exact_types: OpenVINO's operator types inside the core that take
    their inputs unquantized all the same. pixels: the core's inputs hold pixels, so that their INT8 range is 0 to 255
    whatever the calibration images showed.
    """

    def __init__(
        self, front: nn.Module, core: nn.Module, tail: nn.Module | None, core_inputs: int = 1,
        exact_types: tuple[str, ...] = (), pixels: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.front, self.core, self.tail, self.core_inputs = front, core, tail, core_inputs
        self.exact_types, self.pixels = exact_types, pixels

    def forward(self, x: Tensor) -> Any:
        found = as_tuple(self.front(x))
        made = as_tuple(self.core(*found[: self.core_inputs]))
        if self.tail is None:
            return made if len(made) > 1 else made[0]
        return self.tail(*made, *found[self.core_inputs :])


@dataclass(frozen=True)
class Part:
    """A further network that the score head calls by name, compiled like the main one.

    network: one float32 tensor of `shape` (batch first) in, one tensor per name in `outputs` out. inputs: batches of
    that shape to calibrate its quantization with, from the main network's outputs for one calibration input.
    """

    network: nn.Module
    shape: tuple[int, ...]
    outputs: tuple[str, ...]
    inputs: Callable[[Outputs], Iterator[npt.NDArray[np.float32]]]


@dataclass(frozen=True)
class OnnxStages:
    """A network that exists as ONNX only: what `Staged` is, as the bytes of three networks of one opset.

    front: from the detector's input to `edge_0` and, the same once more for whatever goes past the core, `edge_1`.
    core: from `edge_0` to `core_0`, …, to be quantized. tail: from the core's outputs, and `edge_1` where it needs
    that, to the detector's outputs. exact_from: tensors of the core from which on it stays unquantized.
    """

    front: bytes
    core: bytes
    tail: bytes
    exact_from: tuple[str, ...] = ()


@runtime_checkable
class CameAsOnnx(Protocol):
    """A detector whose network exists as ONNX only."""

    def onnx_stages(self) -> OnnxStages:
        """The network in its own opset."""
        ...


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
    def splits(self) -> BaseModel:
        """The normal inputs that were set aside, as `edge_ad.data` reads them for this modality."""
        ...

    def network(self) -> nn.Module:
        """The network as published: input as in `input`, one tensor per name in `outputs`."""
        ...

    def simplified(self) -> nn.Module:
        """The same function in its cheapest exact form, fit to be quantized (a `Staged` where parts of it must not
        be); same input and outputs."""
        ...

    def parts(self) -> Mapping[str, Part]:
        """Further networks that the head calls, by name; mostly none."""
        ...

    def fit_head(self, outputs: Iterable[Outputs], parts: Mapping[str, Engine]) -> HeadSpec:
        """The score head for one compiled form, from that form's outputs on the calibration split.

        parts: that form of `parts()`.
        """
        ...

    def finish_head(self, head: HeadSpec, threshold: Threshold) -> HeadSpec:
        """`head` once its threshold is known; mostly as it is."""
        ...

    def decisions(self) -> list[tuple[str, str]]:
        """What the detector decided on its way to `simplified` and its head, (stage, sentence), for the report."""
        ...

    def info(self) -> DetectorInfo:
        """What stands in a bundle's manifest."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model folder (JSON and safetensors), whole or not at all."""
        ...


def as_tuple(value: Any) -> tuple[Tensor, ...]:
    """One tensor or several, as a tuple."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)
