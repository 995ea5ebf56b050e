"""Latency of two forms of one network, side by side in one run."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from edge_ad.runtime.engines.base import Engine, Tensor


@dataclass(frozen=True)
class Latency:
    """Medians in microseconds; ratio: median over pairs of float / compiled, above 1 when compiling paid."""

    float_us: int
    compiled_us: int
    ratio: float
    runs: int


def compare(
    float_engine: Engine, compiled: Engine, batch: Tensor, runs: int = 15, warmup: int = 3
) -> Latency:
    """Time both in turn, A B A B …, so that a machine whose speed drifts does not favour either."""
    times: list[tuple[float, float]] = []
    for _ in range(warmup + runs):
        times.append((_seconds(float_engine, batch), _seconds(compiled, batch)))
    counted = np.array(times[warmup:])
    return Latency(
        float_us=round(1e6 * float(np.median(counted[:, 0]))),
        compiled_us=round(1e6 * float(np.median(counted[:, 1]))),
        ratio=float(np.median(counted[:, 0] / counted[:, 1])),
        runs=runs,
    )


def _seconds(engine: Engine, batch: Tensor) -> float:
    begun = time.perf_counter()
    engine.infer(batch)
    return time.perf_counter() - begun
