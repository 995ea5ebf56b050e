"""From one acquired input to its score: preprocessing, engine, head."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import HeadSpec, InputSpec
from edge_ad.runtime.engines.base import Engine, Tensor
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


class Infer(Protocol):
    """From samples to scores, in the two stages that a stream runs side by side."""

    def prepare(self, sample: Sample) -> Prepared:
        """The first stage. Raises DataError for a sample that cannot be used."""
        ...

    def score(self, prepared: Prepared) -> Scored:
        """The second one. Raises DataError likewise, EngineError where the engine fails."""
        ...


@dataclass(frozen=True)
class Prepared:
    """A sample and what the network takes of it. prepare_us: how long that took."""

    sample: Sample
    batch: Tensor
    prepare_us: int


@dataclass
class Scorer:
    """One payload, loaded. guard: held while the engine works, by streams that share it."""

    engine: Engine
    input: InputSpec
    head: HeadSpec
    guard: AbstractContextManager[Any] = field(default_factory=nullcontext)

    def __call__(self, sample: Sample) -> Scored:
        """Both stages, one after the other."""
        return self.score(self.prepare(sample))

    def prepare(self, sample: Sample) -> Prepared:
        """Preprocessing. Raises DataError for a sample that the network does not take."""
        begun = time.perf_counter_ns()
        batch = preprocess(self.input.preprocess, sample.data)
        return Prepared(sample, batch, (time.perf_counter_ns() - begun) // 1000)

    def score(self, prepared: Prepared) -> Scored:
        """Network and head. latency_us leaves out how long others had the engine."""
        batch = prepared.batch
        with self.guard:
            begun = time.perf_counter_ns()
            outputs = self.engine.infer(batch)
            result = evaluate(self.head, {INPUT: batch, **outputs}, self.engine.parts)
            latency_us = (time.perf_counter_ns() - begun) // 1000
        return Scored(
            float(result.scores[0]),
            None if result.maps is None else result.maps[0],
            prepared.prepare_us + latency_us,
            None if result.channels is None else result.channels[0],
        )
