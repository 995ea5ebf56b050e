"""What a rig asks a device over SSH of the bundle that is live there: its golden vectors, and scores."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edge_ad.errors import DataError
from edge_ad.runtime.deployment import OpenEngine, live
from edge_ad.runtime.deployment.remote.protocol import Proved, Scored
from edge_ad.runtime.engines import open_engine as open_any_engine
from edge_ad.runtime.golden import check_golden
from edge_ad.runtime.recorded import score_inputs

_MOST_BYTES = 1 << 30


def prove_live(root: Path, *, open_engine: OpenEngine = open_any_engine) -> Proved:
    """Run the golden vectors of what is live; a difference is in the answer. Raises DeployError, EngineError."""
    found = live(root)
    payload = found.manifest.payload(found.target)
    engine = open_engine(payload, found.folder)
    try:
        golden = check_golden(payload, found.folder, engine)
    finally:
        engine.close()
    worst = golden.worst_error if math.isfinite(golden.worst_error) else None
    return Proved(
        digest=found.digest, target=payload.target, passed=golden.passed, vectors=golden.count,
        worst_output=golden.worst_output, worst_vector=golden.worst_vector, worst_error=worst, allowed=golden.allowed,
        elapsed_s=golden.elapsed_s, ran_on=golden.ran_on,
    )  # fmt: skip


def score_live(root: Path, stream: BinaryIO, *, open_engine: OpenEngine = open_any_engine) -> Scored:
    """Scores of network inputs (N, …), read from `stream` as an .npy, by what is live.

    Raises DataError for what the network does not take, DeployError, EngineError."""
    found = live(root)
    payload = found.manifest.payload(found.target)
    spec = found.manifest.input_of(payload)
    try:
        raw = io.BytesIO(stream.read(_MOST_BYTES))  # NumPy wants to seek
        inputs = np.lib.format.read_array(raw, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"what was sent is no .npy that can be read ({error})", where=root) from error
    if inputs.shape[1:] != tuple(spec.shape[1:]) or inputs.dtype != np.dtype(spec.dtype) or not len(inputs):
        raise DataError(
            f"the network takes (N, …) of {spec.shape[1:]} {spec.dtype}, not {inputs.shape}", where=root
        )
    engine = open_engine(payload, found.folder)
    try:
        scores = score_inputs(payload, engine, inputs)
    finally:
        engine.close()
    return Scored(digest=found.digest, target=payload.target, scores=[float(value) for value in scores])
