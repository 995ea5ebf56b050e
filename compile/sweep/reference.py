"""What forms are held to: the first model, unpruned and in float, and its scores; made once in each process."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import InputSpec, Threshold
from edge_ad.compile import verify
from edge_ad.compile.capture import check_parity
from edge_ad.compile.opening import open_lowered
from edge_ad.compile.scores import batches, score
from edge_ad.compile.sweep.candidate import Candidate, captured_for, fitted
from edge_ad.compile.sweep.locks import give_way
from edge_ad.compile.sweep.setting import Setting
from edge_ad.compile.target import Calibration, Lowered, Target
from edge_ad.data.inputs import find_labelled
from edge_ad.data.pseudo_anomalies import pseudo_anomalies
from edge_ad.metrics.threshold import calibrate_threshold
from edge_ad.runtime.engines.base import Tensor

WANTED_ALTERED = 48  # altered copies, where the held-back inputs are fewer; at most MOST_COPIES of each
MOST_COPIES = 4
_RATE = 0.05  # false alarms of the threshold by which some heads stop early; the smallest that n supports, if larger

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """A form at work and its scores: of held-back normal inputs (n,), of their altered copies (m,), and of labelled
    inputs (k,) with their labels, None without any. spec: what it takes; inputs: some of it, normal."""

    form: verify.Form
    spec: InputSpec
    threshold: Threshold
    normal: FloatArray
    altered: FloatArray
    labelled: FloatArray | None
    labels: npt.NDArray[np.bool_]
    inputs: list[Tensor]


@dataclass(frozen=True)
class Reference:
    """The reference on one target. folder: where its files lie as long as it is needed."""

    candidate: Candidate
    scored: Scored
    folder: tempfile.TemporaryDirectory[str]


@lru_cache(maxsize=1)
def reference(setting: Setting, target_name: str) -> Reference:
    """Inside of `busy`. Raises ParityError unless the exported network is the fitted one, and what lowering raises."""
    target = setting.resolve(target_name)
    made = fitted(setting.reference, setting.data)
    folder = tempfile.TemporaryDirectory(prefix="edge-ad-")
    lowered = target.lower(captured_for(target, made, setting.data), "fp32", None)
    engine = open_lowered(target, lowered, Path(folder.name) / "float")
    check_parity(made.detector, engine, islice(calibration_of(made).batches(), verify.N_PARITY))
    form = verify.at_work(
        made.detector, target, lowered, engine, Path(folder.name) / "scored", made.normals, give_way
    )
    return Reference(
        made, scored(setting, target, made, lowered, form, Path(folder.name) / "settled"), folder
    )


def scored(
    setting: Setting, target: Target, made: Candidate, lowered: Lowered, form: verify.Form, folder: Path
) -> Scored:
    """A form with its head finished, and its scores. lowered: without its head; folder: a new one for its files."""
    detector, normals = made.detector, made.normals
    n = len(normals.threshold)
    rate = max(_RATE, 1.001 / (n + 1))
    threshold = calibrate_threshold(form.normal.scores, rate)
    form = verify.settled(detector, target, lowered, form, threshold, folder)
    spec = verify.taken(detector, form.lowered)
    copies = max(1, min(MOST_COPIES, math.ceil(WANTED_ALTERED / n)))
    changed = pseudo_anomalies(normals.threshold, detector.input, seed=setting.seed, copies=copies)
    labelled = find_labelled(setting.data, detector.input)
    tested = setting.test and len(labelled.items) > 0
    return Scored(
        form=form,
        spec=spec,
        threshold=threshold,
        normal=form.normal.scores,
        altered=score(form.engine, form.head, batches(changed, spec), give_way).scores,
        labelled=score(form.engine, form.head, batches(labelled.inputs, spec), give_way).scores
        if tested
        else None,
        labels=np.array([item.anomalous for item in labelled.items], np.bool_),
        inputs=list(islice(batches(normals.threshold, spec), verify.N_PARITY)),
    )


def calibration_of(made: Candidate) -> Calibration:
    """Its calibration inputs, for quantization."""

    def inputs() -> Iterator[Tensor]:
        for batch in batches(made.normals.calibration, made.detector.input):
            give_way()
            yield batch

    return Calibration(inputs, len(made.normals.calibration))
