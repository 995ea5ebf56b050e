"""Running one form of a network over images, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import HeadSpec, InputSpec
from edge_ad.runtime.engines.base import Engine, Tensor
from edge_ad.runtime.heads import evaluate
from edge_ad.runtime.images import read_image
from edge_ad.runtime.preprocess import preprocess

Tick = Callable[[], None]


@dataclass(frozen=True)
class Scores:
    """scores: (N,) float32. maps: (N, h, w) on the network's grid, or None."""

    scores: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32] | None


def batches(paths: Iterable[Path], spec: InputSpec) -> Iterator[Tensor]:
    """Images as the device would preprocess them, each a batch of one. Raises DataError."""
    for path in paths:
        yield preprocess(spec.preprocess, read_image(path))


def run(engine: Engine, inputs: Iterable[Tensor], tick: Tick | None = None) -> list[dict[str, Tensor]]:
    """Network outputs of each batch."""
    outputs = []
    for batch in inputs:
        outputs.append(engine.infer(batch))
        if tick is not None:
            tick()
    return outputs


def score(head: HeadSpec, outputs: Sequence[dict[str, Tensor]]) -> Scores:
    """Head over the outputs of `run`."""
    results = [evaluate(head, o) for o in outputs]
    scores = np.concatenate([r.scores for r in results])
    maps = [r.maps for r in results if r.maps is not None]
    return Scores(scores, np.concatenate(maps) if len(maps) == len(results) else None)
