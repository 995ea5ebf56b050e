"""Capture: a detector's simplified network as ONNX, and the proof that it still computes the same."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from edge_ad.bundle.manifest import InputSpec
from edge_ad.compile.from_onnx import stages_for
from edge_ad.compile.layers import named
from edge_ad.detectors.base import CameAsOnnx, Detector, Staged, as_tuple
from edge_ad.errors import ParityError
from edge_ad.runtime.engines.base import Engine, Tensor

OPSET = 20
PARITY_RTOL = 1e-3  # float32 convolutions summed in another order; measured 1e-6 to 1e-4

Made = TypeVar("Made")


@dataclass(frozen=True)
class CapturedPart:
    """A further network that the score head calls, as ONNX bytes, and what calibrates its quantization.

    network, shape, outputs: where that comes from, its input and its outputs' names; main_outputs: those of the main
    network, which `inputs` takes.
    """

    onnx: bytes
    inputs: Callable[[Mapping[str, Tensor]], Iterator[Tensor]]
    network: nn.Module | None = None
    shape: tuple[int, ...] = ()
    outputs: tuple[str, ...] = ()
    main_outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Captured:
    """A network as ONNX bytes, with its input and the names of its outputs.

    onnx: the part to be quantized. front, tail: what comes before and after it and stays exact, or None. The front's
    outputs are called `edge_0`, `edge_1`, …; the core takes the first of them under the same names, the tail takes the
    core's outputs (`core_0`, …) and the front's others. exact_types, pixels: as `Staged`'s. network: where all of it
    comes from, for targets that do not go by ONNX; None for a network that came as ONNX. detector: the same, for
    boards.
    """

    onnx: bytes
    input: InputSpec
    outputs: tuple[str, ...]
    front: bytes | None = None
    tail: bytes | None = None
    parts: Mapping[str, CapturedPart] = field(default_factory=dict)
    exact_types: tuple[str, ...] = ()
    pixels: bool = False
    network: nn.Module | None = None
    detector: Detector | None = field(default=None, compare=False)
    _made: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """What `make` gives, made once: several targets take the same files."""
        if key not in self._made:
            self._made[key] = make()
        found: Made = self._made[key]
        return found


@dataclass(frozen=True)
class Parity:
    """Largest difference between the published network and its exported form, relative to the largest output."""

    n: int
    worst: float
    allowed: float


@torch.no_grad()
def capture(detector: Detector, opset: int = OPSET) -> Captured:
    """Export the detector's simplified network, and its parts, with static shapes.

    opset: of ONNX; below the default, by torch's older exporter, which takes newer operators apart. Raises TargetError
    for a network that came as ONNX and needs a newer one.
    """
    if isinstance(detector, CameAsOnnx):
        front, core, tail = stages_for(detector.onnx_stages(), opset)
        return Captured(core, detector.input, detector.outputs, front, tail, detector=detector)
    example = torch.zeros(detector.input.shape, dtype=getattr(torch, detector.input.dtype))
    parts = {
        name: CapturedPart(
            _export(part.network, (torch.zeros(part.shape),), ["input"], part.outputs, opset),
            part.inputs,
            part.network,
            part.shape,
            part.outputs,
            detector.outputs,
        )
        for name, part in detector.parts().items()
    }
    network = detector.simplified()
    if not isinstance(network, Staged):
        onnx = _export(network, (example,), [detector.input.name], detector.outputs, opset)
        return Captured(
            onnx, detector.input, detector.outputs, parts=parts, network=network, detector=detector
        )
    edges = as_tuple(network.front(example))
    names = [f"edge_{i}" for i in range(len(edges))]
    n = network.core_inputs
    made = as_tuple(network.core(*edges[:n]))
    core_names = [f"core_{i}" for i in range(len(made))] if network.tail is not None else detector.outputs
    tail = None
    if network.tail is not None:
        tail = _export(network.tail, (*made, *edges[n:]), [*core_names, *names[n:]], detector.outputs, opset)
    return Captured(
        onnx=_export(network.core, edges[:n], names[:n], core_names, opset),
        input=detector.input,
        outputs=detector.outputs,
        front=_export(network.front, (example,), [detector.input.name], names, opset),
        tail=tail,
        parts=parts,
        exact_types=network.exact_types,
        pixels=network.pixels,
        network=network,
        detector=detector,
    )


def unexported(detector: Detector) -> Captured:
    """A detector's network for targets that do not go by ONNX, none of it exported."""
    parts = {
        name: CapturedPart(b"", part.inputs, part.network, part.shape, part.outputs, detector.outputs)
        for name, part in detector.parts().items()
    }
    return Captured(
        b"", detector.input, detector.outputs, parts=parts, network=detector.simplified(), detector=detector
    )


def _export(
    network: nn.Module, examples: tuple[torch.Tensor, ...], inputs: Sequence[str], outputs: Sequence[str], opset: int
) -> bytes:  # fmt: skip
    """ONNX bytes of one module, its layers called as in `edge_ad.compile.layers`."""
    export = _export_newest if opset >= OPSET else _export_older
    return named(export(network, examples, inputs, outputs, opset), network, examples)


def _export_newest(
    network: nn.Module, examples: tuple[torch.Tensor, ...], inputs: Sequence[str], outputs: Sequence[str], opset: int
) -> bytes:  # fmt: skip
    """By torch's present exporter."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                network.eval(),
                examples,
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=list(inputs),
                output_names=list(outputs),
            )
        finally:
            logger.setLevel(level)
    assert program is not None
    return program.model_proto.SerializeToString()


def _export_older(
    network: nn.Module, examples: tuple[torch.Tensor, ...], inputs: Sequence[str], outputs: Sequence[str], opset: int
) -> bytes:  # fmt: skip
    """By torch's exporter for opsets that the present one does not reach."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), examples, content, dynamo=False, opset_version=opset, input_names=list(inputs),
            output_names=list(outputs),
        )  # fmt: skip
    return content.getvalue()


@torch.no_grad()
def check_parity(detector: Detector, engine: Engine, inputs: Iterable[Tensor]) -> Parity:
    """Hold the exported float form, run by the device's engine, to the published network in torch.

    inputs: batches of the network's shape and dtype. Raises ParityError (exit 4) beyond PARITY_RTOL, or when
    an output is not finite.
    """
    network = detector.network()
    worst, n = 0.0, 0
    for batch in inputs:
        n += 1
        expected = as_tuple(network(torch.from_numpy(np.ascontiguousarray(batch))))
        outputs = engine.infer(batch)
        for name, reference in zip(detector.outputs, (t.numpy() for t in expected), strict=True):
            difference = float(np.abs(outputs[name] - reference).max() / max(np.abs(reference).max(), 1e-12))
            if not difference <= PARITY_RTOL:
                raise ParityError(
                    f"output '{name}' of the exported float network differs from the fitted one by "
                    f"{difference:.2g} of its largest value (allowed {PARITY_RTOL:g})",
                    where=f"calibration input {n}",
                    hint="nothing was quantized; report this with the model folder",
                )
            worst = max(worst, difference)
    return Parity(n, worst, PARITY_RTOL)
