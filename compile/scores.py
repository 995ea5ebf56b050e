"""Running one form of a network over inputs, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import HeadSpec, InputSpec
from edge_ad.data.inputs import Inputs
from edge_ad.errors import DataError
from edge_ad.runtime.engines.base import Engine, Tensor
from edge_ad.runtime.heads import INPUT, evaluate
from edge_ad.runtime.preprocess import preprocess

Tick = Callable[[], None]


@dataclass(frozen=True)
class Scores:
    """scores: (N,) float32. maps: (N, h, w) on the network's grid, or None."""

    scores: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32] | None


def batches(inputs: Inputs, spec: InputSpec) -> Iterator[Tensor]:
    """Inputs as the device would preprocess them, each a batch of one. Raises DataError, naming the file."""
    for index, acquired in enumerate(inputs):
        try:
            yield preprocess(spec.preprocess, acquired)
        except DataError as error:
            if error.where is not None or inputs.files is None:
                raise
            raise DataError(error.what, where=inputs.files[index], hint=error.hint) from error


def run(engine: Engine, inputs: Iterable[Tensor], tick: Tick | None = None) -> Iterator[dict[str, Tensor]]:
    """Network outputs of each batch."""
    for batch in inputs:
        yield engine.infer(batch)
        if tick is not None:
            tick()


def score(engine: Engine, head: HeadSpec, inputs: Iterable[Tensor], tick: Tick | None = None) -> Scores:
    """Network and head over batches of one."""
    results = []
    for batch in inputs:
        results.append(evaluate(head, {INPUT: batch, **engine.infer(batch)}, engine.parts))
        if tick is not None:
            tick()
    maps = [r.maps for r in results if r.maps is not None]
    return Scores(
        np.concatenate([r.scores for r in results]),
        np.concatenate(maps) if len(maps) == len(results) else None,
    )
