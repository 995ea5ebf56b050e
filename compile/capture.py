"""Capture: a detector's simplified network as ONNX, and the proof that it still computes the same."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from edge_ad.bundle.manifest import InputSpec
from edge_ad.detectors.base import Detector
from edge_ad.errors import ParityError
from edge_ad.runtime.engines.base import Engine, Tensor

OPSET = 20
PARITY_RTOL = 1e-3  # float32 convolutions summed in another order; measured 1e-6 to 1e-4


@dataclass(frozen=True)
class Captured:
    """A network as ONNX bytes, with its input and the names of its outputs."""

    onnx: bytes
    input: InputSpec
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Parity:
    """Largest difference between the published network and its exported form, relative to the largest output."""

    n: int
    worst: float
    allowed: float


def capture(detector: Detector) -> Captured:
    """Export the detector's simplified network with static shapes."""
    example = torch.zeros(detector.input.shape, dtype=getattr(torch, detector.input.dtype))
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                detector.simplified(),
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[detector.input.name],
                output_names=list(detector.outputs),
            )
        finally:
            logger.setLevel(level)
    assert program is not None
    return Captured(program.model_proto.SerializeToString(), detector.input, detector.outputs)


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
        expected = network(torch.from_numpy(np.ascontiguousarray(batch)))
        expected = (expected,) if isinstance(expected, torch.Tensor) else expected
        outputs = engine.infer(batch)
        for name, reference in zip(detector.outputs, (t.numpy() for t in expected), strict=True):
            difference = float(np.abs(outputs[name] - reference).max() / max(np.abs(reference).max(), 1e-12))
            if not difference <= PARITY_RTOL:
                raise ParityError(
                    f"output '{name}' of the exported float network differs from the fitted one by "
                    f"{difference:.2g} of its largest value (allowed {PARITY_RTOL:g})",
                    where=f"calibration image {n}",
                    hint="nothing was quantized; report this with the model folder",
                )
            worst = max(worst, difference)
    return Parity(n, worst, PARITY_RTOL)
