"""Latency of two forms of one network, side by side in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_ad.runtime.engines.base import Engine, Tensor

COUNTED = 3  # runs of a block that count


@dataclass(frozen=True)
class Latency:
    """Medians in microseconds; ratio: median over blocks of float / compiled, above 1 when compiling paid."""

    float_us: int
    compiled_us: int
    ratio: float
    runs: int


def compare(float_engine: Engine, compiled: Engine, batch: Tensor, runs: int = 15) -> Latency:
    """Time both networks, without their scores, in turn."""
    return side_by_side([lambda: float_engine.infer(batch)], [lambda: compiled.infer(batch)], runs)


def side_by_side(
    float_: Sequence[Callable[[], object]],
    compiled: Sequence[Callable[[], object]],
    runs: int,
    warmup: int = 1,
) -> Latency:
    """Time two forms in turn, so that a machine whose speed drifts does not favour either: blocks A B A B …, of which
    the first `warmup` of each do not count.

    float_, compiled: what each form has to do, one for each input; they take turns. runs: of each that count, rounded
    up to whole blocks.
    """
    blocks = -(-runs // COUNTED)
    pairs = [(_block(float_, turn), _block(compiled, turn)) for turn in range(warmup + blocks)]
    counted = np.array(pairs[warmup:])  # (blocks, 2, COUNTED)
    medians = np.median(counted, axis=2)
    return Latency(
        float_us=round(1e6 * float(np.median(counted[:, 0]))),
        compiled_us=round(1e6 * float(np.median(counted[:, 1]))),
        ratio=float(np.median(medians[:, 0] / medians[:, 1])),
        runs=blocks * COUNTED,
    )


def _block(form: Sequence[Callable[[], object]], turn: int) -> list[float]:
    """Seconds of COUNTED runs in a row.

    The first one does not count: it finds the caches, and the other form's threads, as that one left them, which costs
    whichever form was loaded later some 10 % of 0.2 ms, and tells nothing of a device that runs one form.
    """
    times = [_seconds(form[(turn * COUNTED + i) % len(form)]) for i in range(-1, COUNTED)]
    return times[1:]


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
