"""Latency of two forms of one network, side by side in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
    """Time both networks, without their scores, in turn."""
    return side_by_side([lambda: float_engine.infer(batch)], [lambda: compiled.infer(batch)], runs, warmup)


def side_by_side(
    float_: Sequence[Callable[[], object]],
    compiled: Sequence[Callable[[], object]],
    runs: int,
    warmup: int = 3,
) -> Latency:
    """Time two forms in turn, A B A B …, so that a machine whose speed drifts does not favour either.

    float_, compiled: what each form has to do, one for each input; they take turns.
    """
    times: list[tuple[float, float]] = []
    for turn in range(warmup + runs):
        times.append((_seconds(float_[turn % len(float_)]), _seconds(compiled[turn % len(compiled)])))
    counted = np.array(times[warmup:])
    return Latency(
        float_us=round(1e6 * float(np.median(counted[:, 0]))),
        compiled_us=round(1e6 * float(np.median(counted[:, 1]))),
        ratio=float(np.median(counted[:, 0] / counted[:, 1])),
        runs=runs,
    )


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
