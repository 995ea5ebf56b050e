"""Golden vectors: inputs with the outputs and scores that the compiling host saw; a device must give the same."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_ad.bundle.manifest import HeadSpec, Payload
from edge_ad.errors import BundleError, EngineError, ParityError
from edge_ad.runtime.engines.base import Engine, Tensor
from edge_ad.runtime.heads import evaluate

INPUT, SCORE = "input", "score"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class GoldenResult:
    """How far a device is from its golden vectors, at the output that is worst for what it is allowed.

    worst_vector: index into the vectors. worst_error: largest absolute difference there (infinite for a value
    that is not finite). allowed: what that may be.
    """

    passed: bool
    count: int
    worst_output: str
    worst_vector: int
    worst_error: float
    allowed: float

    def require(self) -> None:
        """Raise ParityError (exit 4) unless everything agreed."""
        if not self.passed:
            raise ParityError(
                f"golden vector {self.worst_vector} of {self.count}: '{self.worst_output}' differs by "
                f"{self.worst_error:.3g}, allowed is {self.allowed:.3g}",
                hint="this device computes something else than the host did; compile for it, or update its engine",
            )


def make_golden(inputs: Sequence[Tensor], engine: Engine, head: HeadSpec, outputs: Sequence[str]) -> bytes:
    """Golden vectors of one payload as an .npz: `input` (K, …), `score` (K,) and one array (K, …) an output.

    inputs: K batches of one, of the network's shape and dtype. Equal arguments give equal bytes.
    """
    results = [engine.infer(batch) for batch in inputs]
    arrays = {name: np.concatenate([r[name] for r in results]) for name in outputs}
    scores = np.concatenate([evaluate(head, r).scores for r in results])
    return npz_bytes({INPUT: np.concatenate(list(inputs)), SCORE: scores, **arrays})


def npz_bytes(arrays: Mapping[str, Tensor]) -> bytes:
    """An .npz, compressed by nothing and stamped with no time, so that equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            info.external_attr = 0o644 << 16
            info.create_system = 3  # as on Linux, wherever this runs
            archive.writestr(info, content.getvalue())
    return buffer.getvalue()


def check_golden(payload: Payload, folder: Path, engine: Engine) -> GoldenResult:
    """Run the golden vectors of a payload whose files lie under `folder`, one at a time.

    Raises BundleError for a file of vectors that is not what the manifest promises; disagreement is no error
    here, see `GoldenResult.require`.
    """
    expected = _read(payload, folder / payload.golden.file)
    worst: tuple[float, GoldenResult] | None = None
    for index in range(payload.golden.count):
        outputs = engine.infer(expected[INPUT][index : index + 1])
        got = {name: outputs[name] for name in payload.outputs}
        got[SCORE] = _scores(payload.head, got)
        for name, value in got.items():
            reference = expected[name][index : index + 1]
            allowed = payload.golden.atol + payload.golden.rtol * float(np.abs(reference).max())
            error = _distance(value, reference)
            excess = 0.0 if error == 0 else error / allowed if allowed > 0 else np.inf
            if worst is None or excess > worst[0]:
                result = GoldenResult(error <= allowed, payload.golden.count, name, index, error, allowed)
                worst = (excess, result)
    assert worst is not None  # a manifest promises at least one vector
    return worst[1]


def _scores(head: HeadSpec, outputs: dict[str, Tensor]) -> Tensor:
    try:
        return evaluate(head, outputs).scores
    except EngineError:  # not finite: a disagreement, to be reported as one
        return np.full(1, np.nan, np.float32)


def _distance(value: Tensor, reference: Tensor) -> float:
    """Largest absolute difference; infinite for another shape or a value that is not finite."""
    if value.shape != reference.shape or not np.isfinite(value).all():
        return float("inf")
    return float(np.abs(value.astype(np.float64) - reference.astype(np.float64)).max(initial=0.0))


def _read(payload: Payload, path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in (INPUT, SCORE, *payload.outputs)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"the golden vectors cannot be read ({error})", where=path) from error
    for name, array in arrays.items():
        if array.ndim < 1 or len(array) != payload.golden.count:
            raise BundleError(f"'{name}' does not hold {payload.golden.count} golden vectors", where=path)
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise BundleError(f"'{name}' holds golden values that are no finite numbers", where=path)
    return arrays
