"""Recorded inputs of a network, read all at once, and their scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_ad.bundle.manifest import InputSpec, Payload
from edge_ad.errors import DataError
from edge_ad.runtime.engines.base import Engine, Tensor
from edge_ad.runtime.heads import INPUT, evaluate
from edge_ad.runtime.preprocess import QUANTIZE, preprocess
from edge_ad.runtime.sources import open_source


def read_inputs(path: Path, spec: InputSpec) -> Tensor:
    """Network inputs (N, *shape[1:]) of the spec's dtype: an .npy as it is, any other file or folder as a source.

    Raises DataError for what gives none, or others, and SourceError."""
    if path.suffix.lower() != ".npy":
        source = open_source(str(path), input=spec)
        try:
            batches: list[Tensor] = [preprocess(spec.preprocess, sample.data) for sample in source]
        finally:
            source.close()
        if not batches:
            raise DataError(f"gives no {spec.noun}", where=path)
        return np.concatenate(batches)
    try:
        data: Tensor = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"is no .npy that can be read ({error})", where=path) from error
    one = tuple(spec.shape[1:])
    data = data[None] if data.shape == one else data
    if spec.preprocess.name == QUANTIZE and data.shape[1:] == one and len(data):
        return np.concatenate([preprocess(spec.preprocess, row) for row in data])
    if data.shape[1:] != one or data.dtype != np.dtype(spec.dtype) or not len(data):
        raise DataError(
            f"holds {data.shape} {data.dtype}, the network takes (N, {', '.join(map(str, one))}) {spec.dtype}",
            where=path,
        )
    return data


def score_inputs(payload: Payload, engine: Engine, inputs: Tensor) -> Tensor:
    """Scores (N,) of network inputs (N, …) by an engine and the payload's head."""
    found = []
    for one in inputs:
        outputs = engine.infer(one[None])
        found.append(evaluate(payload.head, {INPUT: one[None], **outputs}, engine.parts).scores)
    return np.concatenate(found)
