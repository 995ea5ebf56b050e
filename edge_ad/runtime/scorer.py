"""From one acquired input to its score: preprocessing, engine, head."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import HeadSpec, InputSpec
from edge_ad.runtime.engines.base import Engine, Tensor
from edge_ad.runtime.heads import INPUT, evaluate
from edge_ad.runtime.images import read_image
from edge_ad.runtime.preprocess import preprocess
from edge_ad.runtime.sample import Sample


@dataclass(frozen=True)
class Scored:
    """score: higher is more anomalous. map: (h, w) in the score's unit, or None. latency_us: all three stages."""

    score: float
    map: npt.NDArray[np.float32] | None
    latency_us: int


@dataclass
class Scorer:
    """One payload, loaded."""

    engine: Engine
    input: InputSpec
    head: HeadSpec

    def __call__(self, sample: Sample) -> Scored:
        begun = time.perf_counter_ns()
        batch = preprocess(self.input.preprocess, sample.data)
        result = evaluate(self.head, {INPUT: batch, **self.engine.infer(batch)}, self.engine.parts)
        latency_us = (time.perf_counter_ns() - begun) // 1000
        return Scored(float(result.scores[0]), None if result.maps is None else result.maps[0], latency_us)

    def outputs(self, data: npt.NDArray[np.generic]) -> dict[str, Tensor]:
        """Raw network outputs of one input as acquired, e.g. (H, W, 3) uint8 RGB."""
        return self.engine.infer(preprocess(self.input.preprocess, data))

    def outputs_of_file(self, path: Path) -> dict[str, Tensor]:
        """As `outputs`, of an image file. Raises DataError."""
        return self.outputs(read_image(path))
