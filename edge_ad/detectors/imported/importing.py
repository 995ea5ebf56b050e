"""From somebody's ONNX file and what is said of it to a model folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch

from edge_ad.bundle.manifest import InputSpec
from edge_ad.bundle.names import shown
from edge_ad.data.inputs import find_normals
from edge_ad.data.splits import file_sha256
from edge_ad.detectors.imported.config import ImportConfig
from edge_ad.detectors.imported.detector import Imported
from edge_ad.detectors.imported.graphs import WEIGHTED, dimensions, keep_needed, needs, opset_of
from edge_ad.detectors.imported.inputs import Said, image_input, series_input
from edge_ad.detectors.imported.outputs import choose
from edge_ad.detectors.imported.reading import read_network
from edge_ad.detectors.model_folder import MODEL_FILE
from edge_ad.errors import ModelError, UsageError

_WIDE = 50.0  # standard deviations; golden vectors of series reach about as far


@dataclass(frozen=True)
class Made:
    """A model folder that was made, and how many normal inputs it sets aside for what."""

    detector: Imported
    calibration: int
    threshold: int


def import_network(path: Path, data: Path, out: Path, said: Said) -> Made:
    """Read, check and describe the network in `path`, choose normal inputs below `data`, and write the model folder.

    Raises ModelError for a network that cannot be taken, UsageError for what does not fit it, DataError for the data.
    """
    if (out / MODEL_FILE).exists():
        raise ModelError("holds a model already", where=out, hint="choose another --out")
    model = read_network(path, said.shape)
    value = model.graph.input[0]
    shape = tuple(int(d or 0) for d in dimensions(value))
    found = (image_input if said.modality == "image" else series_input)(shape, said, data, path)
    outputs = choose(model, said.head, said.outputs, shape, found.layout, path)
    _check_exact(model, outputs, said.exact_from, path)
    config = ImportConfig(
        name=re.sub(r"[^\x21-\x7e]", "-", path.stem)[:60] or "network", head=said.head, shape=shape,
        layout=found.layout, gain=found.gain, offset=found.offset, bgr=said.bgr, input=found.spec,
        network_input=value.name, outputs=outputs, exact_from=list(said.exact_from), file_sha256=file_sha256(path),
        sha256=hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest(), opset=opset_of(model),
    )  # fmt: skip
    detector = Imported(config, found.splits, model)
    check_runs(detector, path)
    normals = find_normals(found.splits, data, found.spec)
    detector.save(out)
    return Made(detector, len(normals.calibration), len(normals.threshold))


def _check_exact(model: onnx.ModelProto, outputs: list[str], exact: tuple[str, ...], path: Path) -> None:
    """Raise UsageError unless these are tensors of the network, and something is left to quantize before them."""
    core = onnx.ModelProto()
    core.CopyFrom(model)
    keep_needed(core.graph, outputs)
    made = {name for node in core.graph.node for name in node.output}
    reached = set(exact)
    left = False
    for node in core.graph.node:
        if reached.intersection(needs(node)):
            reached.update(node.output)
        else:
            left = left or node.op_type in WEIGHTED
    for name in exact:
        if name not in made and name != model.graph.input[0].name:
            raise UsageError(
                f"has no tensor {shown(name)} on the way to its output", where=path,
                hint="--exact-from takes the name of a node's output, as Netron shows it",
            )  # fmt: skip
    if not left:
        said = f" before {', '.join(map(shown, exact))}" if exact else ""
        raise UsageError(
            f"holds nothing to quantize{said}", where=path, hint="take another --output or --exact-from"
        )


@torch.no_grad()
def check_runs(detector: Imported, path: Path) -> None:
    """Raise ModelError unless the network gives the same finite scores twice, for inputs at the ends of their range and
    for noise."""
    try:
        network = detector.network()
        for given in _extremes(detector.input):
            one, other = (network(torch.from_numpy(given)).numpy() for _ in range(2))
            if not np.array_equal(one, other, equal_nan=True):
                raise ModelError(
                    "its output differs from run to run",
                    hint="export it in evaluation mode, without random operators",
                )
            if not np.isfinite(one).all():
                raise ModelError(
                    f"its output is not finite for {_called(given)}",
                    hint="guard divisions, roots and logarithms",
                )
    except ModelError as error:
        raise ModelError(error.what, where=path, hint=error.hint) from error


def _extremes(spec: InputSpec) -> Iterator[npt.NDArray[np.generic]]:
    rng = np.random.default_rng(0)
    if spec.dtype == "uint8":
        yield np.zeros(spec.shape, np.uint8)
        yield np.full(spec.shape, 255, np.uint8)
        yield rng.integers(0, 256, spec.shape, np.uint8)
        return
    yield np.zeros(spec.shape, np.float32)
    yield rng.uniform(-_WIDE, _WIDE, spec.shape).astype(np.float32)


def _called(given: npt.NDArray[np.generic]) -> str:
    if given.dtype == np.uint8:
        return {0: "a black image", 255: "a white image"}.get(int(given.max()), "noise")
    return "noise of 50 standard deviations" if given.any() else "constant series"
