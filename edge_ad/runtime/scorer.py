"""From one acquired input to its score: preprocessing, engine, head."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import HeadSpec, InputSpec
from edge_ad.runtime.engines.base import Engine
from edge_ad.runtime.heads import INPUT, evaluate
from edge_ad.runtime.preprocess import preprocess
from edge_ad.runtime.sample import Sample


@dataclass(frozen=True)
class Scored:
    """score: higher is more anomalous. map: (h, w) in the score's unit, or None. latency_us: all three stages.
    channels: (C,) what each channel of a series adds to the score, in its unit, or None."""

    score: float
    map: npt.NDArray[np.float32] | None
    latency_us: int
    channels: npt.NDArray[np.float32] | None = None


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
        return Scored(
            float(result.scores[0]),
            None if result.maps is None else result.maps[0],
            latency_us,
            None if result.channels is None else result.channels[0],
        )
