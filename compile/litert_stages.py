"""The stages of a captured network as .tflite files: for target `litert`, and for boards, which take the middle one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from edge_ad.compile import litert
from edge_ad.compile.capture import Captured, CapturedPart
from edge_ad.compile.layers import MAIN, Layer, layers_of
from edge_ad.compile.litert_layers import in_float
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
def core(
    captured: Captured, staged: Staged, calibration: Calibration | None, kept: Sequence[Layer] = ()
) -> bytes:
    """The middle stage, in INT8 where there is a calibration, but for the layers `kept`. Made once for all targets of a
    compile."""

    def converted() -> bytes:
        edges = as_tuple(staged.front(example(captured)))
        return litert.convert(staged.core, edges[: staged.core_inputs], what="the network")

    content = captured.once(("litert core",), converted)
    if calibration is None:
        return content

    def ranges() -> dict[str, Any]:
        return litert.calibrated(content, core_inputs(staged, calibration), pixels=staged.pixels)

    return _quantized(captured, MAIN, content, calibration, ranges, kept)


@torch.no_grad()
def part(captured: Captured, name: str, calibration: Calibration | None, kept: Sequence[Layer] = ()) -> bytes:
    """A further network, quantized on what the main one hands it, but for the layers `kept`. Made once for all targets
    of a compile."""
    held, network = captured.parts[name], captured.network
    assert held.network is not None and network is not None
    module = held.network

    def converted() -> bytes:
        return litert.convert(module, (torch.zeros(held.shape),), what=f"the network '{name}'")

    content = captured.once(("litert part", name), converted)
    if calibration is None:
        return content

    def ranges() -> dict[str, Any]:
        feeds = (
            [feed] for batch in calibration.batches() for feed in held.inputs(_named(network, batch, held))
        )
        return litert.calibrated(content, feeds, pixels=False)

    return _quantized(captured, name, content, calibration, ranges, kept)


def _quantized(
    captured: Captured, network: str, content: bytes, calibration: Calibration,
    ranges: Callable[[], dict[str, Any]], kept: Sequence[Layer],
) -> bytes:  # fmt: skip
    """A converted network in INT8, but for those of the layers `kept` that are its own; ranges are found once."""
    names = tuple(layer.name for layer in kept if layer.network == network)

    def made() -> bytes:
        found = captured.once(("litert ranges", network, calibration.count), ranges)
        return litert.quantize(content, found, in_float(content, layers_of(captured), network, names))

    return captured.once(("litert int8", network, calibration.count, names), made)


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
