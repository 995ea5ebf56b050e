"""The stages of a captured network as .tflite files: for target `litert`, and for boards, which take the middle one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from edge_ad.compile import litert
from edge_ad.compile.capture import Captured, CapturedPart
from edge_ad.compile.target import Calibration
from edge_ad.detectors.base import Staged, as_tuple
from edge_ad.errors import TargetError
from edge_ad.runtime.engines.base import Tensor


def stages_of(captured: Captured, target: str) -> Staged:
    """Front, middle and tail of a network; one that has no stages is all middle. Raises TargetError for a network that
    came as ONNX."""
    network = captured.network
    if network is None:
        raise TargetError("takes networks from torch, this one came as ONNX", where=target,
                          hint="take onnx-cpu or openvino-cpu, which run on the same boards")  # fmt: skip
    if isinstance(network, Staged):
        return network
    staged: Any = getattr(network, "staged", None)
    return Staged(nn.Identity(), network, None) if staged is None else staged()


@torch.no_grad()
def core(captured: Captured, staged: Staged, calibration: Calibration | None) -> bytes:
    """The middle stage, in INT8 where there is a calibration. Made once for all targets of a compile."""

    def make() -> bytes:
        edges = as_tuple(staged.front(example(captured)))
        content = litert.convert(staged.core, edges[: staged.core_inputs], what="the network")
        if calibration is None:
            return content
        return litert.quantize(content, core_inputs(staged, calibration), pixels=staged.pixels)

    return captured.once(("litert core", calibration and calibration.count), make)


@torch.no_grad()
def part(captured: Captured, name: str, calibration: Calibration | None) -> bytes:
    """A further network, quantized on what the main one hands it. Made once for all targets of a compile."""

    def make() -> bytes:
        held, network = captured.parts[name], captured.network
        assert held.network is not None and network is not None
        content = litert.convert(held.network, (torch.zeros(held.shape),), what=f"the network '{name}'")
        if calibration is None:
            return content
        feeds = (
            [feed] for batch in calibration.batches() for feed in held.inputs(_named(network, batch, held))
        )
        return litert.quantize(content, feeds, pixels=False)

    return captured.once(("litert part", name, calibration and calibration.count), make)


def example(captured: Captured) -> torch.Tensor:
    """An input of the right shape and type."""
    return torch.zeros(captured.input.shape, dtype=getattr(torch, captured.input.dtype))


@torch.no_grad()
def core_inputs(staged: Staged, calibration: Calibration) -> Iterator[list[Tensor]]:
    """What the front hands the middle stage, for each calibration input."""
    for batch in calibration.batches():
        edges = as_tuple(staged.front(torch.from_numpy(np.ascontiguousarray(batch))))
        yield [edge.numpy() for edge in edges[: staged.core_inputs]]


def _named(network: nn.Module, batch: Tensor, held: CapturedPart) -> dict[str, Tensor]:
    made = as_tuple(network(torch.from_numpy(np.ascontiguousarray(batch))))
    return {name: value.numpy() for name, value in zip(held.main_outputs, made, strict=True)}
